-- SPDX-License-Identifier: Apache-2.0
--
-- With --dtask, the number of tasks means workers: srun, sbatch and salloc ask for as many tasks more
-- as scheduler and client take. Optional; doc/cli-filter.md says how to install it, and what it leaves
-- as it is. A site that has a cli_filter.lua calls dtask_count_workers from its own
-- slurm_cli_pre_submit.
--
-- It runs in the user's own process, before anything is submitted, and changes one number: what is
-- wrong otherwise is the plugin's to say. Lua 5.1 to 5.4.

-- This site's defaults: what plugstack.conf says in slots= of the plugin's line.
local site_slots = "packed"

-- What the user gave for an option of the plugin: on the command line or a #SBATCH line, inherited
-- from the job, or in the environment. "" where it was given without a value, nil where not at all.
local function given(options, name, variable)
    local spank = options.spank
    local plugin = spank and spank.dtask
    local value = plugin and plugin[name]
    if value == "set" or value == "(null)" then
        return ""
    end
    if value and value ~= "unset" then
        return value
    end
    value = os.getenv(variable)
    if value and value ~= "" then
        return value
    end
    return nil
end

-- A number that was asked for; nil where Slurm is to find one itself. `options[name]` alone does not
-- tell the two apart.
local function asked(set, name)
    local pattern = string.gsub(name, "-", "%%-")
    return tonumber(string.match(set, '"' .. pattern .. '":%s*"?(%d+)'))
end

-- Tasks that have no worker, by doc/cli-filter.md.
local function without_worker(slots, cpus)
    if slots == "dedicated" then
        return 2
    elseif slots == "packed" and cpus < 3 then
        return 1
    end
    return 0
end

function dtask_count_workers(options)
    local engine = given(options, "dtask", "DTASK")
    if not engine or engine == "off" then
        return
    end
    local set = slurm.json_cli_options(options) or ""
    local workers = asked(set, "ntasks")
    if not workers or asked(set, "ntasks-per-node") then
        return
    end
    -- In a job the number is the job's own, which was counted when the job was asked for.
    if options.type == "srun" and os.getenv("SLURM_JOB_ID") and
        workers == tonumber(os.getenv("SLURM_NTASKS")) then
        return
    end
    local slots = given(options, "dtask-slots", "DTASK_SLOTS") or site_slots
    local more = without_worker(slots, asked(set, "cpus-per-task") or 1)
    if more > 0 then
        options["ntasks"] = tostring(workers + more)
    end
end

function slurm_cli_setup_defaults(options, early)
    return slurm.SUCCESS
end

function slurm_cli_pre_submit(options, offset)
    dtask_count_workers(options)
    return slurm.SUCCESS
end

function slurm_cli_post_submit(offset, job, step)
    return slurm.SUCCESS
end

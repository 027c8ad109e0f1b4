# SPDX-License-Identifier: Apache-2.0
# etc/cli_filter.lua: with it, -n counts workers. Slurm reads it beside slurm.conf, so these tests
# have a slurm.conf of their own, of the same cluster.

bats_require_minimum_version 1.5.0

load lib

setup() {
    [[ -z ${DTASK_SLURM:-} || -e $DTASK_SLURM/lib/slurm/cli_filter_lua.so ]] ||
        skip "$DTASK_SLURM was built without Lua"
    setup_step
    cp "$tree/etc/cli_filter.lua" "$work"
    cp "$(dirname "$SLURM_CONF")/cgroup.conf" "$work"
    {
        cat "$SLURM_CONF"
        echo 'CliFilterPlugins=cli_filter/lua'
    } >"$work/slurm.conf"
    export SLURM_CONF=$work/slurm.conf
}

# asks_for CPUS ARGS...: what srun would ask for.
asks_for() {
    local cpus=$1
    shift
    run -0 as_user srun --test-only --mem-per-cpu=10 "$@" true
    [[ $output =~ using\ ([0-9]+)\ processors ]] || fail "$* : $output"
    [[ ${BASH_REMATCH[1]} == "$cpus" ]] || fail "$*: $output; expected $cpus"
}

@test "each mode of slots asks for what it sets aside" {
    asks_for 4 --dtask -n3
    asks_for 4 --dtask=dask --ntasks=3
    asks_for 8 --dtask -n3 -c2
    asks_for 6 --dtask -n2 -c3
    asks_for 5 --dtask --dtask-slots=dedicated -n3
    asks_for 8 --dtask --dtask-slots dedicated -n2 --cpus-per-task=2
    asks_for 3 --dtask --dtask-slots=overlap -n3
    asks_for 3 -n3
    asks_for 3 --dtask=off -n3
    asks_for 4 --dtask -n4 -N2 --ntasks-per-node=2
    asks_for 2 --dtask -N2
    DTASK=native DTASK_SLOTS=dedicated asks_for 5 -n3
    SLURM_NTASKS=3 asks_for 4 --dtask
    # A name that looks like another option, and one that is none of the filter's to refuse.
    asks_for 4 --dtask -n3 -J '"ntasks":"7"'
    run -1 as_user srun --dtask --dtask-slots=many -n3 true
    [[ $output == *--dtask-slots=many* && ${#lines[@]} == 1 ]] || fail "$output"
    run -0 as_user srun -v --test-only --dtask -n3 true
    [[ $output =~ ntasks\ +:\ 4 ]] || fail "$output"
}

@test "a step and a job have the workers that were asked for" {
    step -N1 -n3 --mem-per-cpu=50 python3 "$clients/workers.py"
    expect_code 0
    expect_line "$out" '^worker ' 3
    nothing_left

    # Slurm gives the tasks of a job the nodes' own slurm.conf.
    cat >job.sh <<END
#!/bin/bash
#SBATCH --dtask --ntasks=3 --mem-per-cpu=50
export SLURM_CONF=$SLURM_CONF
srun python3 "$clients/workers.py"
srun -n2 python3 "$clients/workers.py"
END
    batch 60 job.sh
    expect_code 0
    expect_line "$out" '^expected 3$' 1
    expect_line "$out" '^expected 2$' 1
    nothing_left
}

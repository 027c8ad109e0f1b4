// SPDX-License-Identifier: Apache-2.0
#include "spank/remote.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

#include <sched.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/strings.h"
#include "lib/model/command.h"
#include "spank/releases.h"

namespace dtask::spank {
namespace {

/// Above are the batch script, the extern step and the interactive step.
constexpr std::uint32_t last_ordinary_step = 0xfffffff0;

/// What launchers that were killed have left is removed in this time, or stays.
constexpr long most_removing_ms = 10'000;

/// The variables of a client, of the launcher, and of this plugin.
constexpr std::array own_variables{
    "DTASK_ADDRESS",  "DTASK_TOKEN",    "DTASK_SCHEDULER_FILE", "DTASK_ENGINE",
    "DTASK_NWORKERS", "DTASK_NTHREADS", "DTASK_MEMORY_LIMIT",   "DTASK_LAUNCH",
};

template <class T> T item(spank_t spank, spank_item_t which, T otherwise) {
    T value = otherwise;
    return spank_get_item(spank, which, &value) == ESPANK_SUCCESS ? value : otherwise;
}

TaskFacts read_facts(spank_t spank) {
    TaskFacts facts;
    facts.job = item<std::uint32_t>(spank, S_JOB_ID, 0);
    facts.step = item<std::uint32_t>(spank, S_JOB_STEPID, UINT32_MAX);
    facts.rank = item<std::uint32_t>(spank, S_TASK_GLOBAL_ID, UINT32_MAX);
    facts.ntasks = item<std::uint32_t>(spank, S_JOB_TOTAL_TASK_COUNT, 0);
    facts.local_rank = static_cast<std::uint32_t>(item<int>(spank, S_TASK_ID, 0));
    facts.local_ntasks = item<std::uint32_t>(spank, S_JOB_LOCAL_TASK_COUNT, 1);
    facts.cpus_per_task = std::max(item<std::uint32_t>(spank, S_STEP_CPUS_PER_TASK, 1), 1u);
    facts.step_mb = item<std::uint64_t>(spank, S_STEP_ALLOC_MEM, 0);
    return facts;
}

/// Whether the task may run on no more CPUs than are its own.
bool is_bound(pid_t task, std::uint32_t cpus_per_task) {
    long online = ::sysconf(_SC_NPROCESSORS_ONLN);
    // A mask for the largest kernels; EINVAL means one larger still.
    constexpr int most = 8192;
    std::unique_ptr<cpu_set_t, void (*)(cpu_set_t *)> mask(CPU_ALLOC(most),
                                                           [](cpu_set_t *set) { CPU_FREE(set); });
    auto size = CPU_ALLOC_SIZE(most);
    if (!mask || ::sched_getaffinity(task, size, mask.get()) != 0) return false;
    auto count = CPU_COUNT_S(size, mask.get());
    return count < online && static_cast<std::uint32_t>(count) <= cpus_per_task;
}

Env job_env(spank_t spank) { return Env::from(item<char **>(spank, S_JOB_ENV, nullptr)); }

bool runs_commands(spank_t spank) {
    int argc = 0;
    char **argv = nullptr;
    return spank_get_item(spank, S_JOB_ARGV, &argc, &argv) == ESPANK_SUCCESS && argc >= 2 &&
           argv[0] && argv[1] && model::runs_commands(argv[0], argv[1]);
}

model::LimitInput limit_input(const Handover &handover, const TaskFacts &facts, const Env &env,
                              const model::Role &role, bool bound) {
    model::LimitInput in;
    in.memory = handover.options.memory;
    in.cpus = handover.options.cpus;
    in.cpus_per_task = facts.cpus_per_task;
    in.mem_per_cpu_mb = parse_uint(env.get_or("SLURM_MEM_PER_CPU", "0")).value_or(0);
    in.step_mb = facts.step_mb;
    in.local_tasks = facts.local_ntasks;
    in.bound = bound;
    in.role = role;
    return in;
}

cgroup::GroupName group_name(const TaskFacts &facts) { return {facts.job, facts.step, facts.rank}; }

/// "--dtask: task 3 on n2"
std::string where(const TaskFacts &facts, const Env &env) {
    auto text = "--dtask: task " + std::to_string(facts.rank);
    if (auto node = env.get("SLURMD_NODENAME")) text.append(" on ").append(*node);
    return text;
}

void pause_ms(long ms) {
    timespec time{0, ms * 1'000'000};
    ::nanosleep(&time, nullptr);
}

} // namespace

bool is_ours(std::string_view variable) {
    if (variable == token_variable || variable == options_variable) return true;
    // However Slurm prefixes an inherited option of this plugin.
    if (variable.find("SLURM_SPANK_OPTION_dtask") != variable.npos) return true;
    if (std::ranges::find(own_variables, variable) != own_variables.end()) return true;
    for (const auto &option : model::option_table())
        if (variable == option.twin) return true;
    return false;
}

cgroup::Limits group_limits(int cgroup_version, const model::Role &role,
                            const model::WorkerLimits &limits, std::uint32_t cpus_per_task) {
    bool shared = role.scheduler || role.client;
    if (cgroup_version == 1 || !shared) return {limits.memory, limits.cpu_quota_us};
    return {limits.task_memory,
            limits.cpu_quota_us == 0 ? 0 : cpus_per_task * model::cpu_period_us};
}

Remote::Remote(std::span<const char *const> words, std::string_view default_launcher,
               std::unique_ptr<cgroup::Driver> driver)
    : site_(model::parse_site(words, default_launcher)), driver_(std::move(driver)) {}

Result<std::optional<Remote::Step>> Remote::read_step(spank_t spank, pid_t task) const {
    Step step;
    step.facts = read_facts(spank);
    if (step.facts.step > last_ordinary_step) return std::nullopt;
    step.env = job_env(spank);
    auto text = step.env.get(options_variable);
    if (!text || !step.env.get(token_variable)) return std::nullopt;

    auto context = [&] { return where(step.facts, step.env); };
    if (!site_) return fail(context() + ": " + site_.error().text());
    auto handover = handover_from_text(*text);
    if (!handover) return fail_from(std::move(handover), context() + ": " + options_variable);
    step.handover = std::move(*handover);
    auto plan =
        model::plan(step.handover.options.slots, step.facts.ntasks, step.facts.cpus_per_task);
    if (!plan) return fail_from(std::move(plan));
    // srun has said so already, unless it is no srun of this site's.
    if (auto done = model::permit(*site_, step.handover.options); !done)
        return fail_from(std::move(done), context());
    if (auto done = model::permit(*site_, *plan); !done)
        return fail_from(std::move(done), context());
    step.workers = plan->workers;
    step.role = model::role_of(*plan, step.facts.rank);
    step.runs_commands = runs_commands(spank);
    step.limits = model::worker_limits(limit_input(step.handover, step.facts, step.env, step.role,
                                                   is_bound(task, step.facts.cpus_per_task)));
    return step;
}

Result<void> Remote::on_task_forked(spank_t spank) {
    auto task = item<pid_t>(spank, S_TASK_PID, 0);
    if (task <= 0) return {};
    auto step = read_step(spank, task);
    // on_task_init meets the same failure, where it can fail the task alone.
    if (!step || !*step) return {};
    expect_leftovers(**step, spank);
    if (site_->syslog && (*step)->facts.rank == 0) note_use(**step, spank);
    auto done = set_limits(**step, task, item<uid_t>(spank, S_JOB_UID, static_cast<uid_t>(-1)));
    if (!done)
        return fail_from(std::move(done),
                         where((*step)->facts, (*step)->env) + ": cannot limit the worker");
    return {};
}

void Remote::note_use(const Step &step, spank_t spank) {
    const auto &options = step.handover.options;
    ::syslog(LOG_DAEMON | LOG_INFO,
             "dtask: job %u step %u of uid %u: engine %.16s, slots %.16s, %u workers of %u CPUs",
             step.facts.job, step.facts.step, item<uid_t>(spank, S_JOB_UID, static_cast<uid_t>(-1)),
             std::string(model::name_of(options.engine)).c_str(),
             std::string(model::name_of(options.slots)).c_str(), step.workers,
             step.facts.cpus_per_task);
}

// Where launchers make their directories: by runtime/launch/directories.h, and scratch.h.
void Remote::expect_leftovers(const Step &step, spank_t spank) {
    left_.uid = item<uid_t>(spank, S_JOB_UID, static_cast<uid_t>(-1));
    left_.gid = item<gid_t>(spank, S_JOB_GID, static_cast<gid_t>(-1));
    left_.job = step.facts.job;
    left_.step = step.facts.step;
    left_.bases = {"/dev/shm"};
    const auto &chosen = step.handover.options.scratch;
    if (chosen.empty()) {
        if (auto own = step.env.get("TMPDIR"); own && own->starts_with('/'))
            left_.bases.emplace_back(*own);
        left_.bases.emplace_back("/tmp");
    } else {
        left_.bases.push_back(chosen);
    }
}

Result<void> Remote::find_driver() {
    if (driver_) return {};
    auto layout = cgroup::system_layout(site_->cgroup_root);
    if (!layout) return fail_from(std::move(layout));
    auto driver = cgroup::make_driver(std::move(*layout));
    if (!driver) return fail_from(std::move(driver));
    driver_ = std::move(*driver);
    return {};
}

Result<void> Remote::set_limits(const Step &step, pid_t task, uid_t uid) {
    bool limited = step.limits.memory > 0 || step.limits.cpu_quota_us > 0;
    bool sealed = step.handover.options.memory.kind != model::MemoryOption::none;
    if (!limited && !sealed) return {};
    if (auto found = find_driver(); !found) return limited ? std::move(found) : Result<void>{};
    auto membership = cgroup::membership_of(task);
    if (!membership) return fail_from(std::move(membership));
    // A task without a worker is one that other tasks' processes could move to.
    auto done = sealed ? driver_->seal(*membership, uid) : Result<void>{};
    if (!limited) return {};
    if (!done) return done;
    auto limits =
        group_limits(driver_->version(), step.role, step.limits, step.facts.cpus_per_task);
    limits.tasks = step.facts.local_ntasks;
    limits.commands = step.runs_commands ? step.role.worker_cpus : 0;
    auto name = group_name(step.facts);
    // Noted first, so that whatever goes wrong on the way is removed in the end.
    made_.push_back({std::move(*membership), name});
    const auto &where = made_.back().where;
    auto made = driver_->make_worker_group(where, name, limits, uid);
    if (!made && driver_->remove(where, name)) made_.pop_back();
    return made;
}

Result<model::LaunchSpec> Remote::launch_spec(const Step &step) const {
    const auto &facts = step.facts;
    const auto &env = step.env;
    model::LaunchSpec spec;
    spec.options = step.handover.options;
    spec.token = *env.get(token_variable);
    spec.job = facts.job;
    spec.step = facts.step;
    spec.rank = facts.rank;
    spec.ntasks = facts.ntasks;
    spec.local_rank = facts.local_rank;
    spec.local_ntasks = facts.local_ntasks;
    spec.cpus_per_task = facts.cpus_per_task;
    spec.node = env.get_or("SLURMD_NODENAME", "");
    spec.nodelist = env.get_or("SLURM_STEP_NODELIST", "");
    spec.scheduler_node = first_host(spec.nodelist).value_or("");
    spec.scheduler_host = step.handover.scheduler_host;
    spec.first_port = site_->first_port;
    spec.last_port = site_->last_port;
    spec.worker_memory = step.limits.memory;
    spec.worker_cpu_quota_us = step.limits.cpu_quota_us;
    spec.worker_cpus = step.role.worker_cpus;
    spec.cgroup_root = site_->cgroup_root;
    spec.submit_dir = env.get_or("SLURM_SUBMIT_DIR", "");
    if (spec.submit_dir.empty()) {
        std::unique_ptr<char, void (*)(void *)> directory(::getcwd(nullptr, 0), ::free);
        spec.submit_dir = directory ? directory.get() : "/";
    }
    return spec;
}

Result<void> Remote::put_launcher(spank_t spank, model::LaunchSpec &spec) const {
    const auto &launcher = site_->launcher;
    if (::access(launcher.c_str(), X_OK) != 0) return fail_errno("launcher " + launcher);
    auto first = put_in_front(spank, launcher);
    if (!first) return fail_from(std::move(first));
    spec.argv0 = std::move(*first);
    return {};
}

Result<void> Remote::on_task_init(spank_t spank) {
    auto read = read_step(spank, 0);
    if (!read) return fail_from(std::move(read));
    if (!*read) return {};
    const auto &step = **read;
    auto context = [&] { return where(step.facts, step.env); };
    if (step.env.get("SLURM_CONTAINER"))
        return fail("--dtask: cannot be used with --container; accepted: a step without a "
                    "container, or --dtask=off");

    auto spec = launch_spec(step);
    if (!spec) return fail_from(std::move(spec), context());
    // What the launcher would refuse is refused before it is started.
    if (auto checked = model::launch_from_text(model::to_text(*spec)); !checked)
        return fail_from(std::move(checked), context());
    if (auto done = put_launcher(spank, *spec); !done) return fail_from(std::move(done), context());

    for (const auto &entry : step.env.strings()) {
        auto name = entry.substr(0, entry.find('='));
        if (is_ours(name)) spank_unsetenv(spank, name.c_str());
    }
    auto text = model::to_text(*spec);
    if (spank_setenv(spank, std::string(model::launch_variable).c_str(), text.c_str(), 1) !=
        ESPANK_SUCCESS)
        return fail(context() + ": cannot set " + std::string(model::launch_variable));
    return {};
}

void Remote::on_task_exit(spank_t spank) {
    auto rank = item<std::uint32_t>(spank, S_TASK_GLOBAL_ID, UINT32_MAX);
    // A launcher that ends by itself leaves nothing, and dies of no signal that it can handle.
    if (WIFSIGNALED(item<int>(spank, S_TASK_EXIT_STATUS, 0))) left_.ranks.push_back(rank);
    remove_group(rank);
}

void Remote::remove_group(std::uint32_t rank) {
    for (auto it = made_.begin(); it != made_.end(); ++it) {
        if (it->name.rank != rank) continue;
        // What was killed with the task may be in it for a moment yet. Slurm
        // cannot remove its own groups above while ours is there, so this is
        // worth a short wait; what stays longer is left to on_exit.
        for (int tries = 50; tries > 0; tries--) {
            if (driver_->remove(it->where, it->name)) {
                made_.erase(it);
                return;
            }
            pause_ms(10);
        }
        return;
    }
}

void Remote::on_exit() {
    // Slurm has killed every process of the step by now; the kernel may take
    // a moment to let go of them.
    for (int tries = 100; tries > 0 && !made_.empty(); tries--) {
        std::erase_if(made_, [&](const Made &made) {
            return driver_->remove(made.where, made.name).has_value();
        });
        if (!made_.empty()) pause_ms(10);
    }
    if (!left_.ranks.empty() && !left_.bases.empty())
        remove_leftovers_as_user(left_, most_removing_ms);
    left_.ranks.clear();
}

} // namespace dtask::spank

// SPDX-License-Identifier: Apache-2.0
//
// The worker as a process: what the launcher handed over becomes Settings.
#include <algorithm>
#include <csignal>

#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/log.h"
#include "lib/base/net.h"
#include "lib/model/resources.h"
#include "lib/model/slots.h"
#include "runtime/dask/worker.h"
#include "runtime/launch/handover.h"
#include "runtime/launch/interpreter.h"
#include "runtime/launch/limits.h"
#include "runtime/launch/place.h"
#include "runtime/worker/worker.h"

namespace dtask::worker {

namespace {

constexpr std::int64_t redial_timeout_ms = 2'000; // a restarted worker finds its scheduler or none
constexpr const char *nursery_variable = "DTASK_NURSERY"; // "off": each executor is spawned

// Twice the scheduler's: it gives us up first, and we come again if it can be
// reached by then. A wrong value is the scheduler's to tell.
std::int64_t silence_ms(const Env &env) {
    return 2 * launch::silence_limit(env).value_or(launch::default_silence_s) * 1'000;
}

// Arrays come and go. What the C library gives back to the kernel at once comes again in pages that
// have to be cleared, which takes longer than most of what is done to an array. By itself it goes
// as far as this, but only once a program has freed something large.
void keep_freed_memory(Env &env, std::uint64_t limit) {
    constexpr std::uint64_t largest =
        32u << 20; // bytes of an array that comes from the heap: glibc's most
    constexpr std::uint64_t most = 2 * largest; // free bytes that are kept,
    constexpr std::uint64_t share = 16;         // or this part of the limit
    if (env.get("MALLOC_MMAP_THRESHOLD_") || env.get("MALLOC_TRIM_THRESHOLD_")) return;
    auto kept = limit > 0 ? std::min(most, limit / share) : most;
    env.set("MALLOC_MMAP_THRESHOLD_", std::to_string(largest));
    env.set("MALLOC_TRIM_THRESHOLD_", std::to_string(kept));
}

Result<Settings> settings_for(const model::LaunchSpec &spec, Env env) {
    Settings settings;
    auto candidates = launch::scheduler_candidates(spec);
    if (!candidates) return fail_from(std::move(candidates));
    settings.candidates = std::move(*candidates);
    settings.restarted = env.get(launch::restart_variable).has_value();
    env.unset(launch::restart_variable);
    settings.dial_timeout_ms =
        settings.restarted ? redial_timeout_ms : std::int64_t{spec.options.timeout_s} * 1000;
    settings.silence_ms = silence_ms(env);
    settings.follow_address = !spec.options.scheduler_interface.empty();
    if (!spec.options.worker_interface.empty()) {
        auto host = interface_address(spec.options.worker_interface);
        if (!host)
            return fail_from(std::move(host), "--dtask-interface=" + spec.options.worker_interface);
        settings.door_host = *host;
    } else if (spec.job == 0) {
        settings.door_host = "127.0.0.1"; // one machine: nobody else's business
    }

    auto &about = settings.about;
    about.name = spec.node + "." + std::to_string(spec.rank);
    about.node = spec.node;
    about.task = spec.rank;
    about.pid = static_cast<std::uint64_t>(::getpid());
    about.nthreads = spec.worker_cpus;
    about.concurrency = spec.options.concurrency;
    auto resources = model::parse_resources(env.get_or(model::resources_variable, ""));
    if (!resources) return fail_from(std::move(resources));
    about.resources = std::move(*resources);

    settings.first_slot = std::uint64_t{spec.rank} * spec.cpus_per_task + 1;
    settings.lazy = env.get(launch::commands_variable).has_value();
    env.unset(launch::commands_variable);
    bool contained = env.get(launch::container_variable).has_value();
    auto python = launch::python_command(env, {"dtask.executor"});
    auto &executor = settings.executor;
    if (!python && !settings.lazy)
        return fail_from(std::move(python), "interpreter of the workers");
    if (python) {
        executor = std::move(*python);
    } else { // told if a function comes
        executor.program = "python3";
        executor.argv = {"python3", "-m", "dtask.executor"};
    }
    env.unset(launch::container_variable);
    // An executor sees a store only where the worker could open it.
    settings.store.directory = env.get_or(launch::store_variable, "");
    env.unset(launch::store_variable);
    env.unset("DTASK_SPILL"); // of a step around this one
    settings.store.in_memory = Store::is_memory(settings.store.directory);
    // Moving values from memory to memory would make no room.
    auto scratch = env.get_or("DTASK_SCRATCH", "");
    if (settings.store.in_memory && !scratch.empty() && !Store::is_memory(scratch))
        settings.store.spill = scratch + "/spill";
    executor.env = std::move(env);
    executor.env.set("DTASK_WORKER", about.name);
    executor.env.set("DTASK_TOKEN", spec.token); // a function or a command may be a client
    executor.oom_score_adj = first_to_die;
    // Whether what it forks becomes ours is a container's secret.
    if (!contained && executor.env.get_or(nursery_variable, "on") != "off") {
        settings.nursery = executor;
        settings.nursery.argv.back() = "dtask._nursery";
        settings.nursery.oom_score_adj = 0; // it makes the executors first to die
    }
    return settings;
}

Result<int> work(Env env) {
    auto spec = launch::take_handover(env);
    if (!spec) return fail_from(std::move(spec));
    std::string name = "worker " + spec->node + "." + std::to_string(spec->rank);
    if (auto opened = launch::open_log(*spec, name); !opened) return fail_from(std::move(opened));
    auto token = proto::Token::from_hex(spec->token);
    if (!token) return fail_from(std::move(token));
    Env task = env; // Dask's worker wants it as it is
    auto settings = settings_for(*spec, std::move(env));
    if (!settings) return fail_from(std::move(settings));

    auto group = launch::worker_group(*spec);
    if (!group) {
        log::warning("the worker's cgroup cannot be used: " + group.error().text());
        group = std::nullopt;
    }
    auto plan = model::plan(spec->options.slots, spec->ntasks, spec->cpus_per_task);
    auto role = plan ? model::role_of(*plan, spec->rank) : model::Role{};
    settings->about.without_group = launch::without_group(*spec, role, *group);
    // A worker of ours adopts orphans itself (nursery.h), Dask's leaves them to the launcher.
    bool dask = spec->options.engine == model::Engine::dask;
    Memory memory(std::move(*group), spec->worker_memory,
                  dask || settings->nursery.program.empty() ? ::getppid() : ::getpid(),
                  role.scheduler || role.client);
    settings->about.memory_limit = memory.limit();
    // Its own, where nodes differ: the client's has the largest.
    settings->executor.env.set("DTASK_MEMORY_LIMIT", std::to_string(memory.limit()));
    settings->commands = settings->executor.env;
    settings->executor.env.set(proto::executor_protocol_variable, proto::executor_protocol);
    keep_freed_memory(settings->executor.env, memory.limit());
    settings->nursery.env = settings->executor.env;

    ev::Loop loop;
    if (dask) {
        dask::Worker worker(loop, *token, *spec, settings->about, settings->candidates,
                            settings->door_host, settings->dial_timeout_ms, settings->silence_ms,
                            std::move(task), std::move(memory));
        return worker.run();
    }
    Worker worker(loop, *token, std::move(*settings), std::move(memory));
    return worker.run();
}

} // namespace

int main(Env env) {
    // SIGXFSZ: a file that grows too large is an error like a full disk.
    for (int number : {SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE, SIGXFSZ})
        (void)::signal(number, SIG_IGN);
    raise_descriptor_limit(); // clients and other workers come for values
    auto code = work(std::move(env));
    if (code) return *code;
    log::error(code.error().text());
    return exit_code::usage;
}

} // namespace dtask::worker

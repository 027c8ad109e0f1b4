// SPDX-License-Identifier: Apache-2.0
#include "runtime/cli/run.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <set>

#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/net.h"
#include "lib/base/spawn.h"
#include "lib/ev/loop.h"
#include "lib/model/launch.h"
#include "lib/model/slots.h"
#include "lib/proto/auth.h"

namespace dtask::cli {

namespace {

// Beside `dtask` in a build directory, else where it is installed.
Result<std::string> launcher_path() {
    std::error_code error;
    auto self = std::filesystem::read_symlink("/proc/self/exe", error);
    if (error) return fail("/proc/self/exe: " + error.message());
    auto sibling = self.parent_path() / "dtaskd";
    if (::access(sibling.c_str(), X_OK) == 0) return sibling.string();
    std::string installed = DTASK_LIBEXECDIR "/dtaskd";
    if (::access(installed.c_str(), X_OK) == 0) return installed;
    return fail("dtaskd is neither at " + sibling.string() + " nor at " + installed);
}

std::uint64_t memory_limit(const model::MemoryOption &memory) {
    return memory.kind == model::MemoryOption::size ? memory.bytes : 0;
}

} // namespace

Result<int> run(const RunRequest &request, const Env &env) {
    auto plan = model::plan(request.options.slots, request.ntasks, request.cpus_per_task);
    if (!plan) return fail_from(std::move(plan));
    auto launcher = launcher_path();
    if (!launcher) return fail_from(std::move(launcher));

    model::LaunchSpec spec;
    spec.options = request.options;
    if (auto done = model::expand_home(spec.options, env.get_or("HOME", "")); !done)
        return fail_from(std::move(done));
    spec.token = proto::Token::random().hex();
    spec.step = static_cast<std::uint32_t>(::getpid());
    spec.ntasks = spec.local_ntasks = request.ntasks;
    spec.cpus_per_task = request.cpus_per_task;
    spec.node = spec.scheduler_node = host_name();
    spec.scheduler_host = "127.0.0.1";
    spec.submit_dir = std::filesystem::current_path().string();

    ev::Loop loop;
    std::set<pid_t> tasks;
    pid_t first = 0; // it has the scheduler
    bool refused = false;
    int code = 0;
    auto reap = [&] {
        int status;
        for (pid_t pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
            if (tasks.erase(pid) == 0) continue;
            code = std::max(code, shell_code(status));
            if (pid != first || shell_code(status) != exit_code::usage) continue;
            // The others look for a scheduler that will never come: SIGINT says so.
            refused = true;
            for (pid_t other : tasks) ::kill(other, SIGINT);
        }
        if (tasks.empty()) loop.stop();
    };
    ev::Signal child(loop, SIGCHLD, reap);
    std::vector<std::unique_ptr<ev::Signal>> forwarded;
    for (int number : {SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2})
        forwarded.push_back(std::make_unique<ev::Signal>(loop, number, [&tasks, number] {
            for (pid_t pid : tasks) ::kill(pid, number);
        }));
    // The terminal sends Ctrl-C to the client too: we end when it does.
    (void)::signal(SIGINT, SIG_IGN);

    for (std::uint32_t rank = 0; rank < request.ntasks; rank++) {
        auto role = model::role_of(*plan, rank);
        spec.rank = spec.local_rank = rank;
        spec.worker_cpus = role.worker_cpus;
        spec.worker_memory = role.worker ? memory_limit(request.options.memory) : 0;
        SpawnSpec task;
        task.program = *launcher;
        task.argv = {"dtaskd", "--"};
        task.argv.insert(task.argv.end(), request.command.begin(), request.command.end());
        task.env = env;
        task.env.set(model::launch_variable, model::to_text(spec));
        task.null_stdin = !role.client;
        auto pid = spawn(task);
        if (!pid) {
            for (pid_t other : tasks) ::kill(other, SIGTERM);
            return fail_from(std::move(pid));
        }
        tasks.insert(*pid);
        if (rank == 0) first = *pid;
    }
    loop.run();
    return refused ? exit_code::usage : code;
}

} // namespace dtask::cli

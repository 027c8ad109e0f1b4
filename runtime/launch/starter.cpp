// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/starter.h"

#include <csignal>

#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/fd.h"
#include "lib/base/spawn.h"
#include "lib/model/command.h"
#include "lib/tls/credentials.h"
#include "runtime/launch/handover.h"
#include "runtime/launch/interpreter.h"
#include "runtime/launch/place.h"

namespace dtask::launch {

Starter::Starter(const model::LaunchSpec &spec, const model::Role &role, Env env, std::string self,
                 std::string command, std::vector<std::string> arguments)
    : spec_(spec), role_(role), env_(std::move(env)), self_(std::move(self)),
      command_(std::move(command)), arguments_(std::move(arguments)),
      python_dir_(python_directory(self_)) {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    if (::sched_getaffinity(0, sizeof mask, &mask) == 0)
        cpus_ = split_cpus(mask, role_, spec_.cpus_per_task);
}

Result<void> Starter::prepare(const proto::Token &token) {
    bool dask = spec_.options.engine == model::Engine::dask;
    if (!role_.worker && !dask) return {};
    auto made = Directories::make(spec_, env_);
    if (!made) return fail_from(std::move(made));
    directories_ = std::move(*made);
    return dask ? prepare_dask(token) : Result<void>();
}

// Credentials of this task's own, signed by the authority that all tasks
// derive from the token; see lib/tls.
Result<void> Starter::prepare_dask(const proto::Token &token) {
    TlsFiles files;
    if (spec_.options.tls) {
        const auto &seed = token.bytes();
        auto made =
            tls::make_credentials({reinterpret_cast<const char *>(seed.data()), seed.size()},
                                  spec_.node + "." + std::to_string(spec_.rank));
        if (!made) return fail_from(std::move(made));
        files = {directories_.scratch() + "/authority.pem",
                 directories_.scratch() + "/certificate.pem", directories_.scratch() + "/key.pem"};
        for (auto [path, text] : {std::pair{files.authority, made->authority},
                                  {files.certificate, made->certificate},
                                  {files.key, made->key}})
            if (auto done = replace_file(path, text, 0600); !done) return done;
    }
    env_ = dask_environment(env_, files, directories_.scratch());
    return {};
}

Result<pid_t> Starter::start_service(const char *what, Env env,
                                     const std::optional<cpu_set_t> &cpus, int death_signal) const {
    env.unset(container_variable); // of a step around this one
    auto words = container_words(env_, command_, arguments_);
    if (!words.empty()) env.set(container_variable, container_text(words));
    SpawnSpec spec;
    // This very program, whatever stands at its path by now: a step goes on as it began while
    // another version is installed.
    spec.program = "/proc/self/exe";
    spec.argv = {"dtaskd", what};
    spec.env = std::move(env);
    spec.null_stdin = true;
    spec.death_signal = death_signal;
    spec.cpus = cpus;
    auto pid = spawn(spec);
    if (!pid) { // removed on the server of a network file system, or no /proc
        spec.program = self_;
        pid = spawn(spec);
    }
    if (!pid) return fail_from(std::move(pid), std::string("starting the ") + what);
    return pid;
}

Result<pid_t> Starter::start_scheduler() const {
    auto env =
        service_environment(env_, spec_, executor_python(env_, command_, arguments_), python_dir_);
    if (!directories_.scratch().empty()) env.set("DTASK_SCRATCH", directories_.scratch());
    return start_service("scheduler", std::move(env), cpus_.services, scheduler_death_signal);
}

Result<pid_t> Starter::start_worker(unsigned starts) const {
    auto env = worker_environment(env_, spec_, executor_python(env_, command_, arguments_),
                                  script_directory(env_, command_, arguments_),
                                  {directories_.scratch(), directories_.store()}, python_dir_);
    if (!arguments_.empty() && model::runs_commands(command_, arguments_.front()))
        env.set(commands_variable, "1");
    if (starts > 0) env.set(restart_variable, std::to_string(starts));
    return start_service("worker", std::move(env), cpus_.worker, SIGKILL);
}

tl::expected<pid_t, Starter::NotStarted> Starter::start_client(const ClusterFacts &facts) const {
    auto program = find_program(command_, env_.get_or("PATH", ""));
    if (!program)
        return tl::make_unexpected(NotStarted{program.error().text(), exit_code::not_found});
    SpawnSpec spec;
    spec.program = *program;
    spec.argv = {command_};
    spec.argv.insert(spec.argv.end(), arguments_.begin(), arguments_.end());
    spec.env = client_environment(env_, spec_, facts, python_dir_);
    spec.cpus = cpus_.services;
    auto pid = spawn(spec);
    if (pid) return *pid;
    bool missing = ::access(program->c_str(), F_OK) != 0;
    return tl::make_unexpected(
        NotStarted{pid.error().text(), missing ? exit_code::not_found : exit_code::cannot_execute});
}

Result<pid_t> Starter::start_waker() const {
    auto scancel = find_program("scancel", env_.get_or("PATH", ""));
    if (!scancel) return fail_from(std::move(scancel));
    SpawnSpec spec;
    spec.program = *scancel;
    spec.argv = {"scancel", "--quiet", "--signal=INT", cluster_id(spec_)};
    spec.env = env_;
    spec.null_stdin = true;
    return spawn(spec);
}

} // namespace dtask::launch

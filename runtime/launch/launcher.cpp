// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/launcher.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <set>

#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/fd.h"
#include "lib/base/log.h"
#include "lib/base/net.h"
#include "lib/base/spawn.h"
#include "lib/model/command.h"
#include "lib/tls/credentials.h"
#include "runtime/client/connection_file.h"
#include "runtime/launch/descendants.h"
#include "runtime/launch/handover.h"
#include "runtime/launch/interpreter.h"
#include "runtime/launch/limits.h"
#include "runtime/launch/place.h"

namespace dtask::launch {

namespace {

constexpr std::int64_t goodbye_ms = 2'000; // for scheduler and worker to end by themselves
// A client whose cluster is lost: to see it and end by itself, then again after SIGTERM.
constexpr std::int64_t client_grace_ms = 1'000;
constexpr std::int64_t stop_grace_ms = 10'000; // of a client that was told to end by dtask stop
constexpr unsigned most_redials = 20;          // of a worker whose connection breaks
constexpr std::int64_t restart_pause_ms = 100; // doubled with each restart

bool local(const model::LaunchSpec &spec) { return spec.job == 0; }

} // namespace

Launcher::Launcher(ev::Loop &loop, const proto::Token &token, model::LaunchSpec spec,
                   model::Role role, Env env, std::string self, std::string command,
                   std::vector<std::string> arguments)
    : loop_(loop), token_(token), spec_(std::move(spec)), role_(role), env_(std::move(env)),
      self_(std::move(self)), command_(std::move(command)), arguments_(std::move(arguments)),
      python_dir_(python_directory(self_)), start_deadline_(loop, [this] { on_start_timeout(); }),
      worker_restart_(loop, [this] { start_worker(); }),
      end_deadline_(loop, [this] { kill_stragglers(); }), stop_deadline_(loop, [this] {
          if (client_ > 0) ::kill(client_, SIGKILL);
      }) {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    if (::sched_getaffinity(0, sizeof mask, &mask) == 0)
        cpus_ = split_cpus(mask, role_, spec_.cpus_per_task);
    signals_.push_back(std::make_unique<ev::Signal>(loop, SIGCHLD, [this] { on_children(); }));
    for (int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH})
        signals_.push_back(
            std::make_unique<ev::Signal>(loop, number, [this, number] { on_signal(number); }));
}

Launcher::~Launcher() = default;

int Launcher::run() {
    if (auto begun = begin(); !begun) {
        log::error(begun.error().text());
        wake_other_tasks();
        end(exit_code::usage);
    }
    loop_.run();
    kill_descendants();
    if (role_.scheduler)
        client::remove_connection_file(client::connection_file_path(spec_), token_);
    directories_ = Directories();
    return code_;
}

Result<void> Launcher::begin() {
    adopt_orphans();
    bool dask = spec_.options.engine == model::Engine::dask;
    Result<void> ready;
    if (role_.worker || dask) {
        auto made = Directories::make(spec_, env_);
        if (made)
            directories_ = std::move(*made);
        else
            ready = fail_from(std::move(made));
        if (ready && dask) ready = prepare_dask();
    }
    // Looked at here, so that one task tells it, and not each worker for itself.
    const auto &interface = spec_.options.worker_interface;
    if (ready && role_.worker && !interface.empty())
        if (auto address = interface_address(interface); !address)
            ready = fail_from(std::move(address), "--dtask-interface=" + interface);
    if (ready && role_.worker) ready = check_limits(spec_, role_);
    if (!ready && role_.client) return ready;
    watch_crowding();
    if (role_.scheduler) start_scheduler();
    if (role_.worker && phase_ != Phase::ending) {
        if (ready)
            start_worker();
        else
            tell_unfit(ready.error().text());
    }
    if (role_.client && phase_ != Phase::ending) {
        start_deadline_.set(std::int64_t{spec_.options.timeout_s} * 1000);
        dial();
    }
    return {};
}

Result<pid_t> Launcher::start_service(const char *what, const Env &env,
                                      const std::optional<cpu_set_t> &cpus, int death_signal) {
    SpawnSpec spec;
    // This very program, whatever stands at its path by now: a step goes on as it began while
    // another version is installed.
    spec.program = "/proc/self/exe";
    spec.argv = {"dtaskd", what};
    spec.env = env;
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

void Launcher::tell_container(Env &env) const {
    env.unset(container_variable); // of a step around this one
    auto words = container_words(env_, command_, arguments_);
    if (!words.empty()) env.set(container_variable, container_text(words));
}

void Launcher::start_scheduler() {
    auto env =
        service_environment(env_, spec_, executor_python(env_, command_, arguments_), python_dir_);
    if (!directories_.scratch().empty()) env.set("DTASK_SCRATCH", directories_.scratch());
    tell_container(env);
    auto pid = start_service("scheduler", env, cpus_.services, scheduler_death_signal);
    if (!pid) return on_cluster_lost(pid.error().text());
    scheduler_ = *pid;
}

void Launcher::start_worker() {
    if (terminated_ || phase_ == Phase::ending) return;
    auto env = worker_environment(env_, spec_, executor_python(env_, command_, arguments_),
                                  script_directory(env_, command_, arguments_),
                                  {directories_.scratch(), directories_.store()}, python_dir_);
    tell_container(env);
    if (!arguments_.empty() && model::runs_commands(command_, arguments_.front()))
        env.set(commands_variable, "1");
    auto starts = worker_restarts_ + worker_redials_;
    if (starts > 0) env.set(restart_variable, std::to_string(starts));
    auto pid = start_service("worker", env, cpus_.worker, SIGKILL);
    if (!pid) return tell_unfit(pid.error().text());
    worker_ = *pid;
}

// Credentials of this task's own, signed by the authority that all tasks
// derive from the token; see lib/tls.
Result<void> Launcher::prepare_dask() {
    TlsFiles files;
    if (spec_.options.tls) {
        const auto &seed = token_.bytes();
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

void Launcher::dial() {
    auto candidates = scheduler_candidates(spec_);
    if (!candidates) return on_cluster_lost(candidates.error().text());
    dialer_ = std::make_unique<client::Dialer>(
        loop_, token_, proto::Role::control, std::move(*candidates),
        std::int64_t{spec_.options.timeout_s} * 1000,
        client::Dialer::Callbacks{
            .on_connected =
                [this] {
                    dialer_->watch(1'000 * silence_limit(env_).value_or(default_silence_s));
                    dialer_->send(proto::make_frame("attach"));
                    if (unfit_) dialer_->send(proto::encode(*unfit_));
                },
            .on_frame = [this](proto::Frame frame) { on_frame(std::move(frame)); },
            .on_lost =
                [this](const std::string &why) {
                    if (phase_ != Phase::ending) return on_cluster_lost(why);
                    over_if_alone();
                },
            .on_failed =
                [this](const std::string &why) {
                    dial_failure_ = why;
                    on_start_timeout();
                }});
}

void Launcher::on_frame(proto::Frame frame) {
    std::string type = frame.type();
    if (type == "welcome") {
        welcome_address_ = frame.header.string_or("address", "");
    } else if (type == "workers") {
        if (auto count = proto::decode_worker_count(frame)) on_workers(*count);
    } else if (type == "info") {
        if (auto info = proto::decode_info(frame)) on_info(*info);
    } else if (type == "stop") {
        on_stop();
    } else if (type == "bye" && phase_ == Phase::ending) {
        // The scheduler waits for us to close, and ends.
        loop_.post([this] {
            dialer_.reset();
            over_if_alone();
        });
    } else if (type == "bye") {
        // It has said why, and tells each task; nobody looks for it in vain.
        if (frame.header.integer_or("code", 0) == exit_code::usage) return end(exit_code::usage);
        on_cluster_lost(frame.header.string_or("why", "it said good-bye"));
    }
}

std::uint64_t Launcher::wanted_workers() const {
    if (!spec_.options.wait.all) return spec_.options.wait.count;
    auto plan = model::plan(spec_.options.slots, spec_.ntasks, spec_.cpus_per_task);
    return plan ? plan->workers : 1;
}

void Launcher::on_workers(const proto::WorkerCount &count) {
    if (phase_ != Phase::starting || info_asked_) return;
    if (count.expected == 0 && wanted_workers() > 0) {
        log::error("no task of the step can run a worker; the command is not started");
        return end(exit_code::usage);
    }
    // Workers that cannot come are not waited for.
    if (count.n < std::min<std::uint64_t>(wanted_workers(), count.expected)) return;
    info_asked_ = true;
    dialer_->send(proto::make_frame("info"));
}

void Launcher::on_info(const proto::Info &info) {
    if (phase_ != Phase::starting) return;
    if (!timed_out_) return start_client(info);

    std::set<std::uint64_t> missing;
    auto plan = model::plan(spec_.options.slots, spec_.ntasks, spec_.cpus_per_task);
    for (std::uint32_t rank = 0; plan && rank < spec_.ntasks; rank++)
        if (model::role_of(*plan, rank).worker) missing.insert(rank);
    for (const auto &worker : info.workers) missing.erase(worker.about.task);
    std::string tasks;
    for (auto rank : missing) tasks += (tasks.empty() ? "" : ",") + std::to_string(rank);
    log::error("only " + std::to_string(info.workers.size()) + " of " +
               std::to_string(wanted_workers()) + " workers were ready after " +
               std::to_string(spec_.options.timeout_s) +
               " s (--dtask-timeout); the workers of these tasks are missing: " + tasks);
    end(exit_code::start_timeout);
}

void Launcher::on_start_timeout() {
    if (phase_ != Phase::starting) return;
    if (dialer_ && dialer_->connected()) {
        timed_out_ = true;
        dialer_->send(proto::make_frame("info"));
        return;
    }
    log::error("the scheduler in task 0 on " + spec_.scheduler_node + " did not answer in " +
               std::to_string(spec_.options.timeout_s) + " s (--dtask-timeout)" +
               (dial_failure_.empty() ? "" : ": " + dial_failure_) +
               (local(spec_) ? "" : "; is dtask's plugin missing on that node?"));
    end(exit_code::start_timeout);
}

void Launcher::start_client(const proto::Info &info) {
    start_deadline_.cancel();
    ClusterFacts facts;
    facts.address = welcome_address_;
    facts.scheduler_file = client::connection_file_path(spec_);
    facts.workers = info.expected;
    facts.nthreads = spec_.cpus_per_task;
    for (const auto &worker : info.workers)
        if (worker.about.nthreads > 0) // packed's task 0 has a smaller one
            facts.memory_limit =
                std::max(facts.memory_limit,
                         worker.about.memory_limit * spec_.cpus_per_task / worker.about.nthreads);

    auto env = client_environment(env_, spec_, facts, python_dir_);
    auto program = find_program(command_, env.get_or("PATH", ""));
    if (!program) {
        log::error(program.error().text());
        return end(exit_code::not_found);
    }
    SpawnSpec spec;
    spec.program = *program;
    spec.argv = {command_};
    spec.argv.insert(spec.argv.end(), arguments_.begin(), arguments_.end());
    spec.env = std::move(env);
    spec.cpus = cpus_.services;
    auto pid = spawn(spec);
    if (!pid) {
        bool missing = ::access(program->c_str(), F_OK) != 0;
        log::error(pid.error().text());
        return end(missing ? exit_code::not_found : exit_code::cannot_execute);
    }
    client_ = *pid;
    phase_ = Phase::running;
}

void Launcher::on_children() {
    for (;;) {
        int status;
        pid_t pid = ::waitpid(-1, &status, WNOHANG);
        if (pid <= 0) break; // orphans that we adopted are reaped without a word
        if (pid == scheduler_)
            on_scheduler_exit(status);
        else if (pid == worker_)
            on_worker_exit(status);
        else if (pid == client_)
            on_client_exit(status);
        else if (pid == waker_)
            waker_ = 0;
    }
    if (phase_ == Phase::ending) over_if_alone();
}

void Launcher::on_scheduler_exit(int status) {
    scheduler_ = 0;
    if (phase_ == Phase::ending) return;
    int code = shell_code(status);
    // A task with the scheduler but not the client ends as its scheduler does.
    if (code == 0 && !role_.client) return end(0);
    if (code == exit_code::usage && phase_ == Phase::starting) {
        wake_other_tasks(); // it has said why
        return end(code);
    }
    on_cluster_lost(describe_status(status));
}

void Launcher::on_worker_exit(int status) {
    worker_ = 0;
    kill_children_of(spec_.node + "." + std::to_string(spec_.rank));
    int code = shell_code(status);
    bool alone = !role_.scheduler && !role_.client;
    if (phase_ == Phase::ending) return;
    if (code == 0) {
        if (alone) end(0);
        return;
    }
    // Woken (see wake_other_tasks) before it knew what that means.
    bool woken = WIFSIGNALED(status) && WTERMSIG(status) == SIGINT;
    if (terminated_ || (woken && alone)) {
        if (alone) end(0);
        return;
    }
    if (code == exit_code::unfit || code == exit_code::no_scheduler) {
        // One that served before comes back to a cluster that has ended: with
        // which code, the client's launcher and the scheduler's say.
        bool served = worker_restarts_ + worker_redials_ > 0;
        bool lost = code == exit_code::no_scheduler && !served;
        if (alone) end(lost ? exit_code::cluster_lost : 0);
        return;
    }
    if (code == exit_code::cluster_lost && worker_redials_ < most_redials) {
        // Its connection broke. If the scheduler lives it is found again at once.
        worker_redials_++;
        return start_worker();
    }
    if (code == exit_code::usage && interrupted_ && alone) return end(0); // woken in the midst
    if (code == exit_code::usage) return tell_unfit("its worker could not start");
    if (worker_restarts_ >= spec_.options.restarts)
        return tell_unfit("its worker ended with " + describe_status(status) +
                          " and was restarted " + std::to_string(worker_restarts_) +
                          " times already (--dtask-restarts)");
    log::warning("the worker ended with " + describe_status(status) + "; it is restarted");
    worker_restart_.set(restart_pause_ms << std::min(worker_restarts_, 10u));
    worker_restarts_++;
}

void Launcher::on_client_exit(int status) {
    client_ = 0;
    if (phase_ == Phase::ending) return;
    end(shell_code(status));
}

// The client's exit, or the scheduler's, does the rest.
void Launcher::watch_crowding() {
    bool shares = role_.worker && (role_.client || role_.scheduler);
    if (local(spec_) || !shares) return;
    auto group = worker_group(spec_);
    if (!group || !*group || (*group)->version() != 2 || !(*group)->has_memory()) return;
    crowding_.emplace(std::move(**group));
    crowding_look_.emplace(loop_, Crowding::look_ms, [this] {
        if (phase_ == Phase::ending) return;
        auto verdict = crowding_->look({client_, scheduler_});
        if (!verdict) return;
        log::error(verdict->why);
        for (auto pid : verdict->pids) ::kill(pid, SIGKILL);
    });
}

void Launcher::on_signal(int number) {
    if (number == SIGTERM) terminated_ = true;
    if (number == SIGINT) interrupted_ = true;
    if (client_ > 0) {
        // Without Slurm the terminal has sent Ctrl-C to the client already.
        if (number != SIGINT || !local(spec_)) ::kill(client_, number);
    } else if (role_.client && (number == SIGTERM || number == SIGINT)) {
        if (phase_ == Phase::starting) wake_other_tasks();
        return end(exit_code::signal_base + number);
    }
    if (worker_ > 0 && (number == SIGTERM || number == SIGINT)) ::kill(worker_, number);
    bool waiting_to_restart = role_.worker && worker_ == 0 && !role_.scheduler && !role_.client;
    if (waiting_to_restart && (number == SIGTERM || number == SIGINT)) end(0);
}

// `dtask stop`: the client is told to end, and its end is the step's, as ever.
void Launcher::on_stop() {
    if (phase_ == Phase::ending || std::exchange(stopped_, true)) return;
    log::warning("the step was told to end by dtask stop");
    client_ > 0 ? void(::kill(client_, SIGTERM)) : on_signal(SIGTERM);
    stop_deadline_.set(stop_grace_ms);
}

void Launcher::on_cluster_lost(const std::string &why) {
    if (phase_ == Phase::ending) return;
    log::error("the scheduler was lost: " + why + "; the step ends");
    if (phase_ == Phase::starting) wake_other_tasks();
    end(exit_code::cluster_lost);
}

// This task will have no worker: the scheduler must not count on it.
void Launcher::tell_unfit(const std::string &why) {
    proto::Unfit unfit{spec_.node, why, spec_.rank};
    if (role_.client) {
        unfit_ = unfit; // told when connected, if it is not yet
        if (dialer_ && dialer_->connected()) dialer_->send(proto::encode(unfit));
        return;
    }
    auto candidates = scheduler_candidates(spec_);
    if (!candidates) return on_cluster_lost(candidates.error().text());
    bool alone = !role_.scheduler;
    auto over = [this, alone](const std::string &) {
        if (alone) end(0);
    };
    dialer_ = std::make_unique<client::Dialer>(
        loop_, token_, proto::Role::control, std::move(*candidates),
        std::int64_t{spec_.options.timeout_s} * 1000,
        client::Dialer::Callbacks{
            .on_connected = [this, unfit] { dialer_->send(proto::encode(unfit)); },
            .on_frame = [](proto::Frame) {},
            .on_lost = over,
            .on_failed = over});
}

// Tasks that look for a scheduler which will never come would do so until
// their start-up time is over. SIGINT tells them that nothing has begun.
void Launcher::wake_other_tasks() {
    if (local(spec_) || spec_.ntasks < 2) return;
    auto scancel = find_program("scancel", env_.get_or("PATH", ""));
    if (!scancel) return;
    SpawnSpec spec;
    spec.program = *scancel;
    spec.argv = {"scancel", "--quiet", "--signal=INT", cluster_id(spec_)};
    spec.env = env_;
    spec.null_stdin = true;
    if (auto pid = spawn(spec)) waker_ = *pid; // end() gives it time
}

void Launcher::end(int code) {
    if (phase_ == Phase::ending) return;
    phase_ = Phase::ending;
    code_ = code;
    start_deadline_.cancel();
    worker_restart_.cancel();
    if (dialer_ && dialer_->connected() && role_.client)
        dialer_->send(proto::encode_shutdown(static_cast<std::uint64_t>(code)));
    else { // nobody else will tell them
        if (worker_ > 0) ::kill(worker_, SIGTERM);
        if (scheduler_ > 0) ::kill(scheduler_, SIGKILL);
    }
    end_deadline_.set(client_ > 0 ? client_grace_ms : goodbye_ms);
    loop_.post([this] { over_if_alone(); });
}

// Over once all that was started has ended and, where the scheduler is in
// another task, once it has heard of the end.
void Launcher::over_if_alone() {
    bool telling = role_.client && !role_.scheduler && dialer_ && dialer_->connected();
    bool alone = scheduler_ == 0 && worker_ == 0 && client_ == 0 && waker_ == 0;
    if (alone && !telling) loop_.stop();
}

// A client that is left is told once more to end before it is killed.
// The scheduler may stay until slow tasks have heard of the end, but no longer
// than start-up may take: it bounds itself, and is killed if it does not.
void Launcher::kill_stragglers() {
    if (client_ > 0 && !std::exchange(client_warned_, true)) {
        ::kill(client_, SIGTERM);
        return end_deadline_.set(client_grace_ms);
    }
    for (pid_t pid : {client_, worker_, waker_})
        if (pid > 0) ::kill(pid, SIGKILL);
    if (scheduler_ == 0 || lingered_) return loop_.stop(); // kill_descendants() reaps them
    lingered_ = true;
    end_deadline_.set(std::int64_t{spec_.options.timeout_s} * 1000 + goodbye_ms);
}

} // namespace dtask::launch

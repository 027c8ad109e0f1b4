// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/launcher.h"

#include <algorithm>
#include <csignal>

#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/log.h"
#include "lib/base/net.h"
#include "lib/base/spawn.h"
#include "runtime/client/connection_file.h"
#include "runtime/launch/descendants.h"
#include "runtime/launch/handover.h"
#include "runtime/launch/limits.h"
#include "runtime/launch/place.h"
#include "runtime/launch/quorum.h"

namespace dtask::launch {

namespace {

constexpr std::int64_t goodbye_ms = 2'000; // for scheduler and worker to end by themselves
// A client whose cluster is lost: to see it and end by itself, then again after SIGTERM.
constexpr std::int64_t client_grace_ms = 1'000;
constexpr std::int64_t stop_grace_ms = 10'000; // of a client that was told to end by dtask stop

bool local(const model::LaunchSpec &spec) { return spec.job == 0; }

} // namespace

Launcher::Launcher(ev::Loop &loop, const proto::Token &token, model::LaunchSpec spec,
                   model::Role role, Env env, std::string self, std::string command,
                   std::vector<std::string> arguments)
    : loop_(loop), token_(token), spec_(std::move(spec)), role_(role),
      starter_(spec_, role_, std::move(env), std::move(self), std::move(command),
               std::move(arguments)),
      restarts_(spec_.options.restarts), start_deadline_(loop, [this] { on_start_timeout(); }),
      worker_restart_(loop, [this] { start_worker(); }),
      end_deadline_(loop, [this] { kill_stragglers(); }), stop_deadline_(loop, [this] {
          if (client_ > 0) ::kill(client_, SIGKILL);
      }) {
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
    starter_.remove_directories();
    return code_;
}

Result<void> Launcher::begin() {
    adopt_orphans();
    auto ready = starter_.prepare(token_);
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

void Launcher::start_scheduler() {
    auto pid = starter_.start_scheduler();
    if (!pid) return on_cluster_lost(pid.error().text());
    scheduler_ = *pid;
}

void Launcher::start_worker() {
    if (terminated_ || phase_ == Phase::ending) return;
    auto pid = starter_.start_worker(restarts_.count());
    if (!pid) return tell_unfit(pid.error().text());
    worker_ = *pid;
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
                    dialer_->watch(1'000 *
                                   silence_limit(starter_.env()).value_or(default_silence_s));
                    dialer_->send(proto::make_frame("attach"));
                    if (unfit_) dialer_->send(proto::encode(*unfit_));
                },
            .on_frame = [this](const proto::Frame &frame) { on_frame(frame); },
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

void Launcher::on_frame(const proto::Frame &frame) {
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

void Launcher::on_workers(const proto::WorkerCount &count) {
    if (phase_ != Phase::starting || info_asked_) return;
    auto wanted = wanted_workers(spec_);
    if (count.expected == 0 && wanted > 0) {
        log::error("no task of the step can run a worker; the command is not started");
        return end(exit_code::usage);
    }
    // Workers that cannot come are not waited for.
    if (count.n < std::min<std::uint64_t>(wanted, count.expected)) return;
    info_asked_ = true;
    dialer_->send(proto::make_frame("info"));
}

void Launcher::on_info(const proto::Info &info) {
    if (phase_ != Phase::starting) return;
    if (!timed_out_) return start_client(info);
    log::error(tell_missing_workers(spec_, info));
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
    auto pid = starter_.start_client(facts_of(spec_, info, welcome_address_));
    if (!pid) {
        log::error(pid.error().why);
        return end(pid.error().code);
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
    if (phase_ == Phase::ending) return;
    bool alone = !role_.scheduler && !role_.client;
    auto verdict = restarts_.after(status, {alone, terminated_, interrupted_});
    switch (verdict.what) {
    case Restarts::Verdict::What::over:
        if (alone) end(verdict.code);
        return;
    case Restarts::Verdict::What::unfit: return tell_unfit(verdict.why);
    case Restarts::Verdict::What::again:
        if (!verdict.why.empty()) log::warning(verdict.why);
        if (verdict.pause_ms == 0) return start_worker();
        worker_restart_.set(verdict.pause_ms);
    }
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
            .on_frame = [](const proto::Frame &) {},
            .on_lost = over,
            .on_failed = over});
}

// Tasks that look for a scheduler which will never come would do so until
// their start-up time is over. SIGINT tells them that nothing has begun.
void Launcher::wake_other_tasks() {
    if (local(spec_) || spec_.ntasks < 2) return;
    if (auto pid = starter_.start_waker()) waker_ = *pid; // end() gives it time
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

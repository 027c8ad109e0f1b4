// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/executor.h"

#include <csignal>

#include "lib/base/clock.h"
#include "lib/base/log.h"

namespace dtask::worker {

namespace {

// A child of the function that left the process group may hold the socket open.
constexpr std::int64_t last_words_ms = 200;

} // namespace

Executor::Executor(ev::Loop &loop, pid_t pid, Fd socket, Callbacks callbacks)
    : callbacks_(std::move(callbacks)), pid_(pid), deadline_(loop,
                                                             [this] {
                                                                 overdue_ = true;
                                                                 kill();
                                                             }),
      last_words_(loop,
                  [this] {
                      closed_ = true;
                      die_if_over();
                  }),
      stream_(loop, std::move(socket),
              {.on_data = [this] { on_data(); },
               .on_closed =
                   [this](const std::string &) {
                       closed_ = true;
                       die_if_over();
                   }}) {}

Executor::~Executor() {
    stream_.silence();
    if (unwanted_)
        unwanted_();
    else if (!status_)
        kill();
}

Result<std::unique_ptr<Executor>> Executor::start(ev::Loop &loop, SpawnSpec spec,
                                                  Callbacks callbacks) {
    auto pair = socket_pair();
    if (!pair) return fail_from(std::move(pair));
    spec.pass_fd = pair->theirs.get();
    spec.new_group = true;
    spec.null_stdin = true;
    auto pid = spawn(spec);
    if (!pid) return fail_from(std::move(pid), "executor");
    return std::unique_ptr<Executor>(
        new Executor(loop, *pid, std::move(pair->ours), std::move(callbacks)));
}

std::unique_ptr<Executor> Executor::expect(ev::Loop &loop, Fd socket, Callbacks callbacks,
                                           std::function<void()> unwanted) {
    std::unique_ptr<Executor> executor(
        new Executor(loop, 0, std::move(socket), std::move(callbacks)));
    executor->unwanted_ = std::move(unwanted);
    return executor;
}

void Executor::born(pid_t pid) {
    unwanted_ = nullptr;
    pid_ = pid;
    if (doomed_) kill();
}

void Executor::stillborn(int status, std::string why) {
    why_ = std::move(why);
    unwanted_ = nullptr;
    status_ = status;
    die_if_over();
}

void Executor::introduce(std::string_view scheduler) {
    if (std::exchange(introduced_, true)) return;
    stream_.write(std::string_view(
        proto::encode_record_head({proto::RecordKind::cluster, 0, 0, scheduler.size()})));
    stream_.write(scheduler);
}

void Executor::call(Call call, std::string_view function) {
    using proto::RecordKind;
    if (functions_.insert(call.function).second) {
        stream_.write(std::string_view(
            proto::encode_record_head({RecordKind::function, call.function, 0, function.size()})));
        stream_.write(function);
    }
    for (const auto &input : call.inputs) {
        stream_.write(std::string_view(
            proto::encode_record_head({RecordKind::input, 0, call.task, input.size()})));
        stream_.write(std::string_view(input));
    }
    stream_.write(std::string_view(
        proto::encode_record_head({RecordKind::call, call.function, call.task, call.args.size()})));
    stream_.write(std::string_view(call.args)); // kept: it may have to run elsewhere
    in_flight_.push_back(std::move(call));
    if (in_flight_.size() == 1) watch_first();
}

// The first call in flight is the one that runs.
void Executor::watch_first() {
    if (!in_flight_.empty()) running_since_us_ = SteadyClock().now_us();
    if (in_flight_.empty() || in_flight_.front().timeout_ms == 0)
        deadline_.cancel();
    else
        deadline_.set(in_flight_.front().timeout_ms);
}

void Executor::forget(std::uint64_t function) {
    if (functions_.erase(function) > 0)
        stream_.write(std::string_view(
            proto::encode_record_head({proto::RecordKind::forget, function, 0, 0})));
}

bool Executor::drop(std::uint64_t task, std::uint64_t instance) {
    for (auto &call : in_flight_)
        if (call.task == task && call.instance == instance) {
            call.dropped = true;
            return &call == &in_flight_.front();
        }
    return false;
}

std::deque<Call> Executor::take_ahead() {
    // Sent also where there are none: the process counts these.
    stream_.write(
        std::string_view(proto::encode_record_head({proto::RecordKind::void_ahead, 0, 0, 0})));
    std::deque<Call> ahead = std::move(in_flight_);
    in_flight_.clear();
    in_flight_.push_back(std::move(ahead.front()));
    ahead.pop_front();
    return ahead;
}

void Executor::retire() {
    retired_ = true;
    kill();
}

void Executor::kill() {
    doomed_ = true;
    if (pid_ == 0) return;
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL); // the group is not made yet where it has hardly begun
}

void Executor::on_data() {
    while (!dead_ && stream_.available() >= proto::record_head_size) {
        auto head = proto::decode_record_head(stream_.peek(proto::record_head_size));
        if (!head) {
            log::warning("executor " + std::to_string(pid_) + ": " + head.error().text());
            kill();
            stream_.silence();
            closed_ = true;
            return die_if_over();
        }
        std::size_t whole = proto::record_head_size + head->length;
        if (stream_.available() < whole) return stream_.expect(whole);
        stream_.drop(proto::record_head_size);
        on_record(*head, stream_.take(head->length));
    }
}

void Executor::on_record(const proto::RecordHead &head, std::string body) {
    if (head.kind == proto::RecordKind::ready) {
        ready_ = true;
        return callbacks_.on_ready();
    }
    // An answer to what was not asked, as from a child that inherited the socket.
    if (in_flight_.empty() || in_flight_.front().task != head.task) return;
    if (head.kind == proto::RecordKind::blocked || head.kind == proto::RecordKind::unblocked) {
        bool now = head.kind == proto::RecordKind::blocked;
        if (std::exchange(blocked_, now) != now) callbacks_.on_blocked();
        return;
    }
    if (std::exchange(blocked_, false)) callbacks_.on_blocked();
    Call call = std::move(in_flight_.front());
    in_flight_.pop_front();
    watch_first();
    callbacks_.on_outcome(std::move(call), head.kind, std::move(body), head.function);
}

void Executor::on_reaped(int status) {
    status_ = status;
    ::kill(-pid_, SIGKILL); // its children go with it, by its group
    last_words_.set(last_words_ms);
    die_if_over();
}

void Executor::die_if_over() {
    if (dead_ || !closed_) return;
    if (!status_) return kill(); // it closed its socket: of no use any more
    dead_ = true;
    last_words_.cancel();
    callbacks_.on_dead(*status_);
}

} // namespace dtask::worker

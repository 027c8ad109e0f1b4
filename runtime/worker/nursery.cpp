// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/nursery.h"

#include <csignal>
#include <cstring>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "lib/base/exit_codes.h"
#include "lib/base/log.h"

namespace dtask::worker {

namespace {

constexpr int unfit_code = 79; // as in python/dtask/_nursery.py

struct Reply {
    std::uint32_t number;
    std::int32_t pid; ///< or minus an errno
};

} // namespace

Nursery::Nursery(ev::Loop &loop, SpawnSpec executor, SpawnSpec nursery, std::int64_t patience_ms)
    : loop_(loop), executor_(std::move(executor)), nursery_(std::move(nursery)),
      patience_ms_(patience_ms), late_(loop, [this] {
          if (pid_ > 0) ::kill(pid_, SIGKILL); // it will be reaped
      }) {
    if (nursery_.program.empty()) return;
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    nursery_.new_group = true;
    nursery_.null_stdin = true;
}

Nursery::~Nursery() {
    if (pid_ > 0) ::kill(-pid_, SIGKILL);
}

Result<void> Nursery::begin() {
    auto pair = socket_pair();
    if (!pair) return fail_from(std::move(pair));
    nursery_.pass_fd = pair->theirs.get();
    auto pid = spawn(nursery_);
    if (!pid) return fail_from(std::move(pid), "executor");
    pid_ = *pid;
    control_ = pair->ours.get();
    stream_ = std::make_unique<ev::Stream>(
        loop_, std::move(pair->ours),
        ev::Stream::Callbacks{.on_data = [this] { on_data(); },
                              .on_closed = [](const std::string &) {}}); // it will be reaped
    return {};
}

Result<std::unique_ptr<Executor>> Nursery::executor(Executor::Callbacks callbacks) {
    if (unfit_ || nursery_.program.empty())
        return Executor::start(loop_, executor_, std::move(callbacks));
    if (pid_ == 0)
        if (auto begun = begin(); !begun) return fail_from(std::move(begun));
    auto pair = socket_pair();
    if (!pair) return fail_from(std::move(pair));
    auto number = ++last_;
    // It may be stopped, with more requests than its socket takes.
    if (!ask(number, pair->theirs.get()))
        return Executor::start(loop_, executor_, std::move(callbacks));
    auto executor = Executor::expect(loop_, std::move(pair->ours), std::move(callbacks),
                                     [this, number] { unborn_.erase(number); });
    unborn_.emplace(number, Unborn{executor.get(), std::move(pair->theirs)});
    if (loaded_) late_.set(patience_ms_);
    return executor;
}

bool Nursery::ask(std::uint32_t number, int descriptor) {
    iovec data{&number, sizeof number};
    alignas(cmsghdr) char room[CMSG_SPACE(sizeof descriptor)] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = room;
    message.msg_controllen = sizeof room;
    auto *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof descriptor);
    std::memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
    return ::sendmsg(control_, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof number;
}

void Nursery::on_data() {
    while (stream_ && stream_->available() >= sizeof(Reply)) {
        Reply reply{};
        auto bytes = stream_->take(sizeof reply);
        std::memcpy(&reply, bytes.data(), sizeof reply);
        loaded_ = true;
        auto found = unborn_.find(reply.number);
        if (found == unborn_.end()) { // its executor was not wanted any more
            if (reply.pid > 0) ::kill(reply.pid, SIGKILL);
            continue;
        }
        auto *executor = found->second.executor;
        unborn_.erase(found); // closes the process' end here
        if (reply.pid <= 0) {
            executor->stillborn(exit_code::not_found << 8,
                                std::string("fork: ") + std::strerror(-reply.pid));
            continue;
        }
        executor->born(reply.pid);
        if (auto ended = ended_.extract(reply.pid)) executor->on_reaped(ended.mapped());
    }
    if (!unborn_.empty()) return late_.set(patience_ms_);
    late_.cancel();
    ended_.clear();
}

bool Nursery::on_reaped(pid_t pid, int status) {
    if (pid != pid_) {
        if (!unborn_.empty()) ended_.emplace(pid, status);
        return false;
    }
    stream_->pull(); // who was born before
    stream_->silence();
    ::kill(-pid_, SIGKILL);
    pid_ = 0;
    control_ = -1;
    loaded_ = false;
    late_.cancel();
    former_ = std::move(stream_);
    on_over(status);
    return true;
}

void Nursery::on_over(int status) {
    unfit_ = WIFEXITED(status) && WEXITSTATUS(status) == unfit_code;
    log::info(unfit_ ? "executors are not forked: what was loaded for them has started threads"
                     : "the process that forks executors ended with " + describe_status(status));
    for (auto &[number, unborn] : std::exchange(unborn_, {})) {
        if (!unfit_) {
            unborn.executor->stillborn(status);
            continue;
        }
        auto spec = executor_;
        spec.pass_fd = unborn.socket.get();
        spec.new_group = true;
        spec.null_stdin = true;
        if (auto spawned = spawn(spec); spawned)
            unborn.executor->born(*spawned);
        else
            unborn.executor->stillborn(exit_code::not_found << 8, spawned.error().text());
    }
}

} // namespace dtask::worker

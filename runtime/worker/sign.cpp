// SPDX-License-Identifier: Apache-2.0
// What the worker tells the scheduler of itself once a second, and when it need not.
#include "runtime/worker/sign.h"

#include <algorithm>

#include "runtime/worker/worker.h"

namespace dtask::worker {

namespace {

constexpr std::size_t most_told = 64; // tasks that run
// Of the time after which the scheduler takes a worker for lost four pass.
constexpr std::int64_t silences_share = 8;
constexpr std::uint64_t little_memory = 1u << 20, little_us = 10'000;

std::uint64_t between(std::uint64_t a, std::uint64_t b) { return a > b ? a - b : b - a; }

} // namespace

Sign::Sign(std::int64_t silence_ms)
    : quiet_us_(std::min(longest_quiet_ms, silence_ms / silences_share) * 1'000) {}

bool Sign::is_news(const proto::Stat &stat, std::int64_t now_us) {
    bool same = stat.k.empty() && told_.k.empty() &&
                between(stat.memory, told_.memory) <= little_memory &&
                between(stat.cpu_us, told_.cpu_us) <= little_us;
    // The first that is the same says that nothing is used any more.
    if (same && repeated_ && now_us - told_us_ < quiet_us_) return false;
    repeated_ = same;
    told_ = stat;
    told_us_ = now_us;
    return true;
}

void Worker::stat(proto::Stat stat) {
    retire_surplus();
    // Before it is registered the scheduler takes nothing else from a worker.
    if (!dialer_ || !dialer_->connected() || settings_.about.address.empty()) return;
    auto now = SteadyClock().now_us();
    auto add = [&](const Call &call, std::int64_t since_us) {
        if (call.dropped || stat.k.size() >= most_told) return;
        stat.k.push_back(call.task);
        stat.i.push_back(call.instance);
        stat.us.push_back(static_cast<std::uint64_t>(std::max<std::int64_t>(now - since_us, 0)));
    };
    for (const auto *executor : executors())
        if (!executor->in_flight().empty())
            add(executor->in_flight().front(), executor->running_since_us());
    commands_->each(add);
    if (sign_.is_news(stat, now)) dialer_->send(proto::encode(stat));
}

} // namespace dtask::worker

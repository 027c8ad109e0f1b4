// SPDX-License-Identifier: Apache-2.0
// The worker's sign of life: what it tells the scheduler once a second.
#include "runtime/worker/worker.h"

#include <algorithm>

namespace dtask::worker {

namespace {

constexpr std::size_t most_told = 64; // tasks that run

} // namespace

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
    dialer_->send(proto::encode(stat));
}

} // namespace dtask::worker

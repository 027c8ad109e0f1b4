// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/placement.h"

#include <algorithm>

namespace dtask::scheduler::placement {

namespace {

constexpr double queue_us = 5'000; // many round trips to the scheduler
constexpr std::uint64_t longest_queue = 256;

} // namespace

std::uint64_t depth(const Worker &worker, const Function &function) {
    std::uint64_t queue = 1; // of a function not measured yet, or a slow one
    if (function.mean_us >= 0)
        queue = std::clamp<std::uint64_t>(
            static_cast<std::uint64_t>(queue_us / std::max(function.mean_us, 1.0)), 1,
            longest_queue);
    return worker.about.concurrency * (1 + queue);
}

bool may_take(const Worker &worker) {
    return worker.assigned.size() < worker.about.concurrency * (1 + longest_queue);
}

std::uint64_t share(std::uint64_t room, std::uint64_t ready, std::uint64_t idle) {
    std::uint64_t fair = ready / (2 * std::max<std::uint64_t>(idle, 1));
    return std::clamp<std::uint64_t>(fair, 1, std::max<std::uint64_t>(room, 1));
}

std::uint64_t surplus(const Worker &worker) {
    std::uint64_t busy = worker.about.concurrency + worker.asked;
    return worker.assigned.size() > busy ? worker.assigned.size() - busy : 0;
}

std::optional<WorkerId> donor(const Core &core) {
    std::optional<WorkerId> best;
    std::uint64_t most = 0;
    for (const auto &[id, worker] : core.workers)
        if (auto n = surplus(worker); n > most) {
            most = n;
            best = id;
        }
    return best;
}

} // namespace dtask::scheduler::placement

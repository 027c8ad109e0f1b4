// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/usage.h"

#include <algorithm>

namespace dtask::worker {

namespace {

std::uint64_t micros(const timeval &span) {
    return static_cast<std::uint64_t>(span.tv_sec) * 1'000'000 +
           static_cast<std::uint64_t>(span.tv_usec);
}

} // namespace

void Usage::add(const rusage &ended) {
    ended_us_ += micros(ended.ru_utime) + micros(ended.ru_stime);
}

proto::Stat Usage::stat(const Memory &memory, std::uint64_t memory_now, const Pids &running) {
    std::uint64_t cpu_us = 0;
    if (auto group = memory.group_cpu_us()) {
        cpu_us = *group;
    } else {
        cpu_us = ended_us_;
        for (auto root : running)
            for (auto pid : family_of(root)) cpu_us += cpu_time(pid);
    }
    cpu_us_ = std::max(cpu_us_, cpu_us);
    peak_ = std::max({peak_, memory_now, memory.group_peak()});
    return {.memory = memory_now, .peak = peak_, .cpu_us = cpu_us_};
}

} // namespace dtask::worker

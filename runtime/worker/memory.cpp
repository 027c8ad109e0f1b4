// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/memory.h"

#include <algorithm>
#include <string>

#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/strings.h"

namespace dtask::worker {

namespace {

// 0 where the process has gone.
std::uint64_t resident_set(pid_t pid) {
    auto text = read_file("/proc/" + std::to_string(pid) + "/statm");
    if (!text) return 0;
    auto fields = split(*text, ' ');
    auto pages = fields.size() > 1 ? parse_uint(fields[1]) : std::nullopt;
    return pages.value_or(0) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

} // namespace

Memory::Memory(std::optional<cgroup::WorkerGroup> group, std::uint64_t limit)
    : group_(std::move(group)), limit_(limit) {
    if (!group_ || !group_->has_memory()) return;
    // What the kernel enforces is the truth, whatever we were told.
    if (auto enforced = group_->memory_limit(); enforced && *enforced > 0) limit_ = *enforced;
    kills_seen_ = kills_before_ = group_->oom_kills().value_or(0);
}

std::vector<int> Memory::join_fds() const {
    if (!group_ || !group_->needs_join()) return {};
    auto fds = group_->procs_fds();
    return {fds.memory, fds.cpu};
}

bool Memory::needs_watch() const {
    bool kernel = group_ && group_->has_memory() && group_->needs_join();
    return limit_ > 0 && !kernel;
}

std::uint64_t Memory::usage(const std::vector<pid_t> &executors) const {
    if (group_ && group_->has_memory() && group_->needs_join())
        if (auto bytes = group_->memory_usage()) return *bytes;
    std::uint64_t sum = 0;
    for (auto pid : executors) sum += resident_set(pid);
    return sum;
}

std::optional<pid_t> Memory::over_limit(const std::vector<pid_t> &executors) {
    std::uint64_t sum = 0, most = 0;
    std::optional<pid_t> largest;
    for (auto pid : executors) {
        auto bytes = resident_set(pid);
        sum += bytes;
        if (bytes > most) {
            most = bytes;
            largest = pid;
        }
    }
    if (sum <= limit_ || !largest) return {};
    watched_peak_ = std::max(watched_peak_, sum);
    killed_.push_back(*largest);
    return largest;
}

bool Memory::was_memory_kill(pid_t executor) {
    if (std::erase(killed_, executor) > 0) return true;
    if (!group_ || !group_->has_memory()) return false;
    auto kills = group_->oom_kills().value_or(kills_seen_);
    if (kills <= kills_seen_) return false;
    kills_seen_++;
    return true;
}

void Memory::forget_old_kills() {
    if (!group_ || !group_->has_memory()) return;
    kills_seen_ = std::max(kills_seen_, kills_before_);
    kills_before_ = group_->oom_kills().value_or(kills_before_);
}

std::uint64_t Memory::peak() const {
    if (group_ && group_->has_memory())
        if (auto bytes = group_->memory_peak()) return std::max(*bytes, watched_peak_);
    return watched_peak_;
}

} // namespace dtask::worker

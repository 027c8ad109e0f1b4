// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/memory.h"

#include <algorithm>
#include <string>

#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/strings.h"

namespace dtask::worker {

namespace {

// What a process has for itself; 0 where it has gone. Of its pages of files and
// shared memory as many as there are of values are taken to be theirs.
std::uint64_t own_memory(pid_t pid, std::uint64_t mappable) {
    auto text = read_file("/proc/" + std::to_string(pid) + "/statm");
    if (!text) return 0;
    auto fields = split(*text, ' ');
    auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    auto bytes = [&](std::size_t n) {
        return fields.size() > n ? parse_uint(fields[n]).value_or(0) * page : 0;
    };
    auto resident = bytes(1), of_files = std::min(bytes(2), resident);
    return resident - std::min(of_files, mappable);
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

bool Memory::counts_values() const {
    return group_ && group_->has_memory() && group_->needs_join();
}

bool Memory::needs_watch() const { return limit_ > 0 && !counts_values(); }

std::uint64_t Memory::usage(const std::vector<pid_t> &executors, const SharedMemory &shared) const {
    // The group has the pages that executors wrote.
    if (counts_values())
        if (auto bytes = group_->memory_usage()) return *bytes + shared.fetched;
    return needed(executors, shared);
}

std::uint64_t Memory::needed(const std::vector<pid_t> &executors,
                             const SharedMemory &shared) const {
    std::uint64_t sum = shared.stored;
    for (auto pid : executors) sum += own_memory(pid, shared.mappable);
    return sum;
}

std::optional<pid_t> Memory::over_limit(const std::vector<pid_t> &executors,
                                        const SharedMemory &shared) {
    std::uint64_t sum = shared.fixed, most = 0;
    std::optional<pid_t> largest;
    for (auto pid : executors) {
        auto bytes = own_memory(pid, shared.mappable);
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

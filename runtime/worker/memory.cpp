// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/memory.h"

#include <algorithm>

namespace dtask::worker {

namespace {

// The kernel walks through all that is mapped: after each exact measuring we do without for ten
// times as long as it took, but not for longer than a worker may be over its limit.
constexpr std::int64_t pauses_per_exact = 10, longest_pause_us = 900'000;
// What an executor's children had may be in the group for a moment after its end.
constexpr std::int64_t settling_us = 500'000;

} // namespace

Memory::Memory(std::optional<cgroup::WorkerGroup> group, std::uint64_t limit, pid_t adopter,
               bool shared)
    : group_(std::move(group)), limit_(limit), strays_(adopter) {
    whole_task_ = shared && group_ && !group_->needs_join();
    if (!group_ || !group_->has_memory()) return;
    shared_ = shared && watches_group();
    // What the kernel enforces is the truth, whatever we were told.
    if (auto enforced = group_->memory_limit(); enforced && *enforced > 0) {
        group_limit_ = *enforced;
        limit_ = shared_ && limit_ > 0 ? std::min(limit_, group_limit_) : group_limit_;
    }
    kills_seen_ = kills_before_ = group_->oom_kills().value_or(0);
}

std::vector<int> Memory::join_fds() const {
    if (!group_ || !group_->needs_join()) return {};
    auto fds = group_->procs_fds();
    return {fds.memory, fds.cpu};
}

std::vector<cgroup::CommandGroup> Memory::open_command_groups() const {
    if (!group_) return {};
    return group_->open_command_groups();
}

bool Memory::counts_values() const {
    return group_ && group_->has_memory() && group_->needs_join();
}

bool Memory::watches_group() const {
    return group_ && group_->has_memory() && !group_->needs_join();
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
    for (auto executor : executors)
        for (auto pid : family_of(executor)) sum += resident(pid, shared.mappable);
    return sum;
}

std::uint64_t Memory::measure(std::vector<Family> &families, std::uint64_t mappable,
                              std::uint64_t (*of)(pid_t, std::uint64_t)) const {
    std::uint64_t sum = 0;
    for (auto &family : families) {
        family.bytes = 0;
        for (auto pid : family.pids) family.bytes += of(pid, mappable);
        sum += family.bytes;
    }
    return sum;
}

std::optional<pid_t> Memory::over_limit(const std::vector<pid_t> &executors,
                                        const SharedMemory &shared) {
    bool group_over = false;
    if (watches_group()) {
        auto used = group_->memory_usage();
        group_over = used && *used > group_limit_;
        if (!group_over) settled_us_ = 0;
        // Of all looks but a few, this is all.
        if (!group_over && !shared_) return {};
    }
    std::vector<Family> families;
    families.reserve(executors.size());
    for (auto pid : executors) families.push_back({pid, family_of(pid), true});
    for (auto pid : strays_.find(executors, nursery_))
        families.push_back({pid, family_of(pid), false});
    if (group_over) {
        auto movable = shared.stored - std::min(shared.fixed, shared.stored);
        auto victim = over_group_limit(families, movable);
        if (victim || !shared_) return victim;
    }
    auto sum = shared.fixed + measure(families, shared.mappable, resident);
    if (sum <= limit_) return {};

    // A process that has forked shares most of what it has with its child.
    bool sharing =
        nursery_ > 0 || std::ranges::any_of(families, [](auto &f) { return f.pids.size() > 1; });
    if (sharing) {
        auto began = clock_.now_us();
        if (began < next_exact_us_) return {};
        sum = shared.fixed + measure(families, shared.mappable, proportional);
        if (nursery_ > 0) sum += proportional(nursery_, 0);
        auto ended = clock_.now_us();
        next_exact_us_ = ended + std::min(pauses_per_exact * (ended - began), longest_pause_us);
        if (sum <= limit_) return {};
    }
    auto largest = std::ranges::max_element(families, {}, &Family::bytes);
    if (largest == families.end() || largest->bytes == 0) return {};
    if (!largest->executor && is_ending(largest->root)) return {};
    return kill(*largest, sum);
}

pid_t Memory::kill(const Family &family, std::uint64_t sum) {
    auto known = std::ranges::find(killed_, family.root, &Kill::executor);
    if (family.executor && known == killed_.end()) killed_.push_back({family.root, sum});
    return family.root;
}

// The group's counter falls when a process that was killed has gone, its resident
// set before: none other is to die for it meanwhile.
std::optional<pid_t> Memory::over_group_limit(std::vector<Family> &families,
                                              std::uint64_t movable) {
    for (const auto &family : families)
        if (std::ranges::find(killed_, family.root, &Kill::executor) != killed_.end())
            return family.root;
    if (clock_.now_us() < settled_us_) return {};
    auto needed = group_->memory_needed();
    if (!needed || *needed - std::min(movable, *needed) <= group_limit_) return {};
    // Where only which has most matters a rough measure will do.
    auto executors = measure(families, 0, shared_ ? proportional : resident);
    // It is the client that fills the task: the death of an executor would not help it.
    if (shared_ && executors < *needed / 2) return {};
    auto largest = std::ranges::max_element(families, {}, &Family::bytes);
    if (largest == families.end() || largest->bytes == 0) return {};
    if (!largest->executor) {
        if (is_ending(largest->root)) return {};
        settled_us_ = clock_.now_us() + settling_us;
    }
    return kill(*largest, *needed);
}

bool Memory::was_memory_kill(pid_t executor) {
    below_limit_ = false;
    auto killed = std::ranges::find(killed_, executor, &Kill::executor);
    if (killed != killed_.end()) {
        last_peak_ = killed->sum;
        killed_.erase(killed);
        settled_us_ = clock_.now_us() + settling_us;
        return true;
    }
    if (!group_ || !group_->has_memory()) return false;
    auto kills = group_->oom_kills().value_or(kills_seen_);
    if (kills <= kills_seen_) return false;
    kills_seen_++;
    last_peak_ = group_->memory_peak().value_or(0);
    // On v2 the kernel kills above the limit only, or for a group above.
    below_limit_ = counts_values() && *last_peak_ < limit_ - limit_ / limit_tolerance;
    (void)group_->reset_memory_peak(); // the next one has its own
    return true;
}

void Memory::forget_old_kills() {
    if (!group_ || !group_->has_memory()) return;
    kills_seen_ = std::max(kills_seen_, kills_before_);
    kills_before_ = group_->oom_kills().value_or(kills_before_);
}

std::uint64_t Memory::peak() const {
    if (last_peak_) return *last_peak_;
    return group_ && group_->has_memory() ? group_->memory_peak().value_or(0) : 0;
}

std::uint64_t Memory::group_peak() const {
    if (!group_ || whole_task_ || !group_->has_memory()) return 0;
    return group_->memory_peak().value_or(0);
}

std::optional<std::uint64_t> Memory::group_cpu_us() const {
    if (!group_ || whole_task_) return {};
    auto used = group_->cpu_usage_us();
    return used ? std::optional(*used) : std::nullopt;
}

} // namespace dtask::worker

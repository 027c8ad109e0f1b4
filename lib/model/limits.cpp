// SPDX-License-Identifier: Apache-2.0
#include "lib/model/limits.h"

#include <algorithm>

namespace dtask::model {
namespace {

constexpr std::uint64_t page = 4096;
constexpr std::uint64_t megabyte = std::uint64_t{1} << 20;

/// The lesser of two limits of which 0 means none.
std::uint64_t tighter(std::uint64_t a, std::uint64_t b) {
    if (a == 0 || b == 0) return std::max(a, b);
    return std::min(a, b);
}

std::uint64_t multiply(std::uint64_t a, std::uint64_t b) {
    std::uint64_t product = 0;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/// Bytes that a task may use at most; 0 = no limit is known.
std::uint64_t share_of(const LimitInput &in) {
    auto tasks = std::max(in.local_tasks, std::uint32_t{1});
    return multiply(in.step_mb, megabyte) / tasks;
}

/// The part of a task's memory that its worker gets, in proportion to CPUs.
std::uint64_t worker_part(std::uint64_t memory, const Role &role) {
    std::uint64_t cpus = std::uint64_t{role.worker_cpus} + role.service_cpus;
    return static_cast<std::uint64_t>(static_cast<unsigned __int128>(memory) * role.worker_cpus /
                                      cpus);
}

/// The kernel counts in pages, and 0 would mean no limit.
std::uint64_t whole_pages(std::uint64_t bytes) {
    return std::max(bytes / page, std::uint64_t{1}) * page;
}

} // namespace

WorkerLimits worker_limits(const LimitInput &in) {
    WorkerLimits limits;
    if (!in.role.worker || in.role.worker_cpus == 0) return limits;

    auto share = share_of(in);
    switch (in.memory.kind) {
    case MemoryOption::none: break;
    case MemoryOption::automatic: {
        auto asked = multiply(multiply(in.mem_per_cpu_mb, megabyte), in.cpus_per_task);
        limits.task_memory = tighter(asked, share);
        limits.memory = worker_part(limits.task_memory, in.role);
        break;
    }
    case MemoryOption::size:
        // The size is one worker's own; only the share is split with the client.
        limits.task_memory = share;
        limits.memory = tighter(in.memory.bytes, worker_part(share, in.role));
        break;
    }
    if (limits.memory > 0) limits.memory = whole_pages(limits.memory);

    bool split = in.role.service_cpus > 0; // Slurm's binding is the whole task's
    if (in.cpus == CpuMode::quota || (in.cpus == CpuMode::automatic && (!in.bound || split)))
        limits.cpu_quota_us = in.role.worker_cpus * cpu_period_us;
    return limits;
}

} // namespace dtask::model

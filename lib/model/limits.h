// SPDX-License-Identifier: Apache-2.0
//
// Limits: what one worker may use of its node, as a pure function of the
// options and of what the step was given. Memory is in bytes but for what
// Slurm hands over in MB (2^20); 0 always means "no limit" or "not known".
//
// A task's share is the step's memory on the node divided by the tasks there.
// No worker's limit is ever above it, whatever the user or the environment
// says, so the limits of a node's workers never add up to more than the step has.
#pragma once

#include <cstdint>

#include "lib/model/options.h"
#include "lib/model/slots.h"

namespace dtask::model {

/// Period of a CPU quota.
constexpr std::uint64_t cpu_period_us = 100'000;

struct LimitInput {
    MemoryOption memory;
    CpuMode cpus = CpuMode::automatic;
    std::uint32_t cpus_per_task = 1;
    std::uint64_t mem_per_cpu_mb = 0; ///< as requested, where known; a hint from the environment
    std::uint64_t step_mb = 0;        ///< of the step on this node, from the credential
    std::uint32_t local_tasks = 1;
    bool bound = false; ///< Slurm has bound the task to CPUs of its own
    Role role;
};

struct WorkerLimits {
    std::uint64_t memory = 0;       ///< bytes of the worker's executors
    std::uint64_t task_memory = 0;  ///< bytes of the whole task, scheduler and client included
    std::uint64_t cpu_quota_us = 0; ///< CPU time of the executors per cpu_period_us

    bool operator==(const WorkerLimits &) const = default;
};

/// All zero where the role has no worker.
WorkerLimits worker_limits(const LimitInput &input);

} // namespace dtask::model

// SPDX-License-Identifier: Apache-2.0
//
// Cpus: where Slurm has bound a task to CPUs of its own, the services
// (scheduler and client) and the worker of one task get separate ones.
#pragma once

#include <optional>

#include <sched.h>

#include "lib/model/launch.h"
#include "lib/model/slots.h"

namespace dtask::launch {

struct CpuSplit {
    std::optional<cpu_set_t> services, worker; ///< empty: as the task
};

/// The first CPUs of `task` go to the services, the rest to the worker. Only
/// where the task has both and is bound to exactly its CPUs: a wider mask
/// means that Slurm does not bind.
CpuSplit split_cpus(const cpu_set_t &task, const model::Role &role, std::uint32_t cpus_per_task);

} // namespace dtask::launch

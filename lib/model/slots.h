// SPDX-License-Identifier: Apache-2.0
//
// Slots: who plays which role in a step, as a pure function of the mode, the
// number of tasks N and the CPUs of each, P.
//
//   packed     scheduler and client in task 0 on min(2,P) of its CPUs; workers
//              in all other tasks, and in task 0 on the P-2 others if P >= 3
//   dedicated  scheduler in task 0, client in task 1, workers in the rest
//   overlap    scheduler and client beside task 0's worker, a whole worker everywhere
//
// A plan always has at least one worker, one scheduler and one client.
#pragma once

#include <cstdint>

#include "lib/base/result.h"
#include "lib/model/options.h"

namespace dtask::model {

struct Plan {
    SlotMode mode = SlotMode::packed;
    std::uint32_t ntasks = 0;
    std::uint32_t cpus_per_task = 0;
    std::uint32_t workers = 0; ///< how many tasks have one
};

struct Role {
    bool scheduler = false;
    bool client = false;
    bool worker = false;
    std::uint32_t worker_cpus = 0;  ///< CPUs of the worker; 0 where there is none
    std::uint32_t service_cpus = 0; ///< CPUs set aside for scheduler and client

    bool operator==(const Role &) const = default;
};

/// Fails where the mode needs more tasks; the error names option, value and
/// what is needed.
Result<Plan> plan(SlotMode mode, std::uint32_t ntasks, std::uint32_t cpus_per_task);

/// `rank` is below plan.ntasks; any other has no role.
Role role_of(const Plan &plan, std::uint32_t rank);

} // namespace dtask::model

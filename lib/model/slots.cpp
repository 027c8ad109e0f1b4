// SPDX-License-Identifier: Apache-2.0
#include "lib/model/slots.h"

#include <algorithm>
#include <string>

namespace dtask::model {
namespace {

/// CPUs that packed sets aside in task 0 for scheduler and client.
constexpr std::uint32_t packed_service_cpus = 2;

std::string count(std::uint32_t n, std::string_view noun) {
    return std::to_string(n) + ' ' + std::string(noun) + (n == 1 ? "" : "s");
}

std::uint32_t workers_of(SlotMode mode, std::uint32_t ntasks, std::uint32_t cpus) {
    switch (mode) {
    case SlotMode::packed: return ntasks - 1 + (cpus > packed_service_cpus ? 1 : 0);
    case SlotMode::dedicated: return ntasks < 3 ? 0 : ntasks - 2;
    case SlotMode::overlap: return ntasks;
    }
    return 0;
}

std::string needed(SlotMode mode) {
    if (mode == SlotMode::dedicated)
        return "needs at least 3 tasks, for the scheduler, the client and a worker";
    return "needs at least 2 tasks, or 1 of at least 3 CPUs";
}

} // namespace

Result<Plan> plan(SlotMode mode, std::uint32_t ntasks, std::uint32_t cpus_per_task) {
    auto cpus = std::max(cpus_per_task, std::uint32_t{1});
    auto name = "--dtask-slots=" + std::string(name_of(mode));
    if (ntasks == 0) return fail(name + ": the step has no tasks");
    Plan plan{mode, ntasks, cpus, workers_of(mode, ntasks, cpus)};
    if (plan.workers > 0) return plan;
    return fail(
        name + ": " + needed(mode) + "; the step has " + count(ntasks, "task") + " of " +
        count(cpus, "CPU") + "; accepted: more tasks (-n)" +
        (mode == SlotMode::dedicated ? ", packed or overlap" : " or CPUs (-c), or overlap"));
}

Role role_of(const Plan &plan, std::uint32_t rank) {
    if (rank >= plan.ntasks) return {};
    Role role;
    auto all = plan.cpus_per_task;
    switch (plan.mode) {
    case SlotMode::packed:
        role.scheduler = role.client = rank == 0;
        role.service_cpus = rank == 0 ? std::min(packed_service_cpus, all) : 0;
        role.worker_cpus = all - role.service_cpus;
        break;
    case SlotMode::dedicated:
        role.scheduler = rank == 0;
        role.client = rank == 1;
        role.service_cpus = rank < 2 ? all : 0;
        role.worker_cpus = all - role.service_cpus;
        break;
    case SlotMode::overlap:
        role.scheduler = role.client = rank == 0;
        role.worker_cpus = all;
        break;
    }
    role.worker = role.worker_cpus > 0;
    return role;
}

} // namespace dtask::model

// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/cpus.h"

namespace dtask::launch {

CpuSplit split_cpus(const cpu_set_t &task, const model::Role &role, std::uint32_t cpus_per_task) {
    CpuSplit split;
    bool shared = role.worker && role.service_cpus > 0;
    if (!shared || CPU_COUNT(&task) != static_cast<int>(cpus_per_task)) return split;
    cpu_set_t services, worker;
    CPU_ZERO(&services);
    CPU_ZERO(&worker);
    std::uint32_t seen = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &task)) continue;
        if (seen++ < role.service_cpus)
            CPU_SET(cpu, &services);
        else
            CPU_SET(cpu, &worker);
    }
    split.services = services;
    split.worker = worker;
    return split;
}

} // namespace dtask::launch

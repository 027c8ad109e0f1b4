// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/quorum.h"

#include <algorithm>
#include <set>

#include "lib/model/slots.h"
#include "runtime/client/connection_file.h"

namespace dtask::launch {

std::uint64_t wanted_workers(const model::LaunchSpec &spec) {
    if (!spec.options.wait.all) return spec.options.wait.count;
    auto plan = model::plan(spec.options.slots, spec.ntasks, spec.cpus_per_task);
    return plan ? plan->workers : 1;
}

std::string tell_missing_workers(const model::LaunchSpec &spec, const proto::Info &info) {
    std::set<std::uint64_t> missing;
    auto plan = model::plan(spec.options.slots, spec.ntasks, spec.cpus_per_task);
    for (std::uint32_t rank = 0; plan && rank < spec.ntasks; rank++)
        if (model::role_of(*plan, rank).worker) missing.insert(rank);
    for (const auto &worker : info.workers) missing.erase(worker.about.task);
    std::string tasks;
    for (auto rank : missing) tasks += (tasks.empty() ? "" : ",") + std::to_string(rank);
    return "only " + std::to_string(info.workers.size()) + " of " +
           std::to_string(wanted_workers(spec)) + " workers were ready after " +
           std::to_string(spec.options.timeout_s) +
           " s (--dtask-timeout); the workers of these tasks are missing: " + tasks;
}

ClusterFacts facts_of(const model::LaunchSpec &spec, const proto::Info &info, std::string address) {
    ClusterFacts facts;
    facts.address = std::move(address);
    facts.scheduler_file = client::connection_file_path(spec);
    facts.workers = info.expected;
    facts.nthreads = spec.cpus_per_task;
    for (const auto &worker : info.workers)
        if (worker.about.nthreads > 0) // packed's task 0 has a smaller one
            facts.memory_limit =
                std::max(facts.memory_limit,
                         worker.about.memory_limit * spec.cpus_per_task / worker.about.nthreads);
    return facts;
}

} // namespace dtask::launch

// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/tally.h"

#include <algorithm>

namespace dtask::scheduler {

void Tally::on_stat(WorkerId id, const proto::Register &about, const proto::Stat &stat) {
    auto [place, fresh] = entries_.try_emplace(about.task);
    Entry &entry = place->second;
    Use &use = entry.use;
    if (fresh || entry.last != id) {
        entry.last = id;
        entry.before_us = use.cpu_us;
        use.worker = about.name;
        use.task = about.task;
        use.nthreads = about.nthreads;
        use.concurrency = about.concurrency;
        use.limit = about.memory_limit;
        use.sampled = about.without_group.find("memory") != std::string::npos;
    }
    use.cpu_us = std::max(use.cpu_us, entry.before_us + stat.cpu_us);
    use.peak = std::max({use.peak, stat.peak, stat.memory});
}

std::vector<Tally::Use> Tally::uses() const {
    std::vector<Use> all;
    for (const auto &[task, entry] : entries_) all.push_back(entry.use);
    return all;
}

} // namespace dtask::scheduler

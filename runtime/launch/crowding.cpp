// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/crowding.h"

#include <algorithm>

#include <unistd.h>

#include "lib/base/strings.h"

namespace dtask::launch {

namespace {

// An executor over the limit is dead, and its memory free, after much less.
constexpr int patience = 6, patience_for_values = 60; // looks
// Over the limit by less than such a part of it, a task still gets on.
constexpr std::uint64_t bearable = 32;

std::uint64_t sum_of(const worker::Pids &pids) {
    std::uint64_t sum = 0;
    for (auto pid : pids) sum += worker::resident(pid, 0);
    return sum;
}

// As the worker measures it: executors share what was loaded before they were forked.
std::uint64_t sum_of_functions(const worker::Pids &pids) {
    std::uint64_t sum = 0;
    for (auto pid : pids)
        if (worker::is_first_to_die(pid)) sum += worker::proportional(pid, 0);
    return sum;
}

worker::Pids family(pid_t root) { return root > 0 ? worker::family_of(root) : worker::Pids{}; }

} // namespace

Crowding::Crowding(cgroup::WorkerGroup group)
    : group_(std::move(group)), limit_(group_.memory_limit().value_or(0)) {}

std::optional<Crowding::Verdict> Crowding::look(const Task &task) {
    auto used = group_.memory_usage(); // of all looks but a few, this is all
    auto most = limit_ + limit_ / bearable;
    auto needed = limit_ > 0 && used && *used > most ? group_.memory_needed() : used;
    if (limit_ == 0 || !needed || *needed <= most) {
        looks_over_ = 0;
        return {};
    }
    if (++looks_over_ < patience) return {};
    auto shared = group_.memory_shared().value_or(0);
    if (*needed - std::min(shared, *needed) <= most && looks_over_ < patience_for_values) return {};

    auto functions = sum_of_functions(worker::family_of(::getpid()));
    if (functions >= *needed / 2) return {}; // the worker's to see to

    auto client = family(task.client), scheduler = family(task.scheduler);
    auto of_client = sum_of(client), of_scheduler = sum_of(scheduler);
    bool ends_client = of_client >= of_scheduler;
    auto &victim = ends_client ? client : scheduler;
    if (victim.empty()) return {};
    looks_over_ = 0;
    std::string who = ends_client ? "the client" : "the scheduler";
    return Verdict{std::move(victim),
                   who + " is killed: its task has used up its memory of " + format_size(limit_) +
                       " (client " + format_size(of_client) + ", scheduler " +
                       format_size(of_scheduler) + ", functions " + format_size(functions) +
                       "); ask for more by --mem-per-cpu, or for tasks of their own by "
                       "--dtask-slots=dedicated"};
}

} // namespace dtask::launch

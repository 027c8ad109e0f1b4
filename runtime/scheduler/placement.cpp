// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/placement.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string_view>

namespace dtask::scheduler::placement {

namespace {

constexpr double queue_us = 5'000; // many round trips to the scheduler
// Of commands: no other task waits for theirs, and those that end meanwhile are reported together.
constexpr double commands_queue_us = 200'000;
constexpr std::uint64_t longest_queue = 256;
constexpr std::size_t enough_to_time = 64; // workers
constexpr double bytes_per_us = 100;       // between nodes, beside the work that goes on
constexpr double message_us =
    16; // of all that tasks to a worker and their report wake on their way
constexpr double unknown_us = 1'000; // of a function not measured yet
// What a task costs the scheduler (bench/scale), and the way to a busy worker and back.
constexpr double own_us = 0.5, way_us = 1'000;
constexpr std::int64_t silence_us = 20'000; // without a report: more than short tasks can explain

double queue_us_of(const Function &function) {
    return function.cpus == 0 ? queue_us : commands_queue_us;
}

// What it has to run before something new begins, by the mean run times of the functions.
double backlog_us(const Core &core, const Worker &worker) {
    constexpr std::size_t most_looked_at = 32;
    auto looked_at = std::min(worker.assigned.size(), most_looked_at);
    if (looked_at == 0) return 0;
    double sum = 0;
    for (std::size_t n = 0; n < looked_at; n++) {
        const Task *task = core.tasks.find(worker.assigned[n]);
        if (!task) continue;
        double us = task->function->mean_us;
        sum += us < 0 ? unknown_us : us;
    }
    double each = sum / static_cast<double>(looked_at);
    return each * static_cast<double>(worker.load()) / static_cast<double>(worker.slots);
}

} // namespace

std::uint64_t slots(const Worker &worker, const Function &function) {
    if (function.cpus == 0) return worker.about.concurrency;
    return std::max<std::uint64_t>(worker.about.nthreads / function.cpus, 1);
}

std::uint64_t depth(const Worker &worker, const Function &function) {
    std::uint64_t queue = 1; // of a function not measured yet, or a slow one
    if (function.mean_us >= 0)
        queue = std::clamp<std::uint64_t>(
            static_cast<std::uint64_t>(queue_us_of(function) / std::max(function.mean_us, 1.0)), 1,
            longest_queue);
    return slots(worker, function) * (1 + queue);
}

bool enough_under_way(const Core &core, const Function &function, const Clock &clock) {
    if (function.mean_us < 0 || core.workers.empty()) return false;
    double mean_us = std::max(function.mean_us, 1.0);
    auto at_a_time = core.workers.size() * slots(core.workers.begin()->second, function);
    if (own_us * static_cast<double>(at_a_time) <= mean_us) return false; // it can
    double until_reported_us =
        way_us + std::max(mean_us, std::min(mean_us * static_cast<double>(longest_queue),
                                            queue_us_of(function)));
    double enough = 2 * until_reported_us / own_us;
    return static_cast<double>(function.under_way) >= enough &&
           clock.now_us() - function.reported_us < silence_us;
}

bool may_take(const Worker &worker) { return worker.load() < worker.slots * (1 + longest_queue); }

// The messages leave one after the other, so that all workers end at the same time where each gets
// message_us of work less than the one before. The first of them gets n with
// n * mean_us + (n - message_us / mean_us) * mean_us + ... = ready * mean_us, about
// n^2 * mean_us / (2 * message_us) = ready; what is left then is shared likewise.
std::uint64_t share(std::uint64_t room, std::uint64_t ready, std::uint64_t idle, double mean_us) {
    std::uint64_t fair = ready / (2 * std::max<std::uint64_t>(idle, 1));
    if (mean_us >= 0)
        fair = std::max(fair,
                        static_cast<std::uint64_t>(std::sqrt(2 * static_cast<double>(ready) *
                                                             message_us / std::max(mean_us, 1.0))));
    return std::clamp<std::uint64_t>(fair, 1, std::max<std::uint64_t>(room, 1));
}

bool on_trial(const Function &function, const Clock &clock) {
    return function.mean_us < 0 && function.holders.size() >= enough_to_time &&
           clock.now_us() - function.tried_us < trial_ms * 1000;
}

std::uint64_t amount_of(const Worker &worker, const std::string &resource) {
    if (resource == "cpus") return worker.about.nthreads;
    if (resource == "memory") // no limit: as much as anybody wants
        return worker.about.memory_limit == 0 ? UINT64_MAX : worker.about.memory_limit;
    auto found = worker.about.resources.find(resource);
    return found == worker.about.resources.end() ? 0 : found->second;
}

bool suits(const Worker &worker, const proto::Needs &needs) {
    const auto &about = worker.about;
    auto is_it = [&](const std::string &name) {
        return name == about.name || name == about.node || name == about.address;
    };
    if (!needs.workers.empty() && !std::ranges::any_of(needs.workers, is_it)) return false;
    return std::ranges::all_of(needs.resources, [&](const auto &need) {
        return need.second <= amount_of(worker, need.first);
    });
}

std::optional<WorkerId> suitable(const Core &core, const Task &task) {
    const auto &needs = *task.restricted->needs;
    const Function &function = *task.function;
    std::optional<WorkerId> best;
    std::uint64_t least = UINT64_MAX;
    for (const auto &entry : core.workers) {
        const Worker &worker = entry.second; // clang 14's lambdas take no structured binding
        auto load = worker.load();
        if (load >= least || load >= depth(worker, function) || !suits(worker, needs)) continue;
        bool enough = std::ranges::all_of(needs.resources, [&](const auto &need) {
            auto used = worker.used.find(need.first);
            auto taken = used == worker.used.end() ? 0 : used->second;
            return need.second <= amount_of(worker, need.first) - taken;
        });
        if (!enough) continue;
        best = entry.first;
        least = load;
    }
    return best;
}

bool has_stored_inputs(const Core &core, const Task &task) {
    return std::ranges::any_of(task.inputs,
                               [&](TaskId input) { return core.tasks.at(input).size > 0; });
}

std::optional<WorkerId> nearest(const Core &core, const Task &task) {
    const Function &function = *task.function;
    std::map<std::string_view, std::uint64_t> bytes; // of inputs, by node
    std::uint64_t all = 0;
    for (auto input : task.inputs) {
        const Task &source = core.tasks.at(input);
        if (source.size == 0) continue;
        all += source.size;
        std::set<std::string_view> nodes;
        for (const auto &copy : source.copies)
            if (nodes.insert(core.workers.at(copy.worker).about.node).second)
                bytes[core.workers.at(copy.worker).about.node] += source.size;
    }
    std::optional<WorkerId> best, full; // the best with room, and of those that have none
    double least = 0, least_full = 0;
    auto consider = [&](WorkerId id, std::uint64_t on_node) {
        const Worker &worker = core.workers.at(id);
        bool room = worker.load() < depth(worker, function);
        if (!room && (on_node == 0 || !may_take(worker))) return;
        double copying = static_cast<double>(all - on_node) / bytes_per_us;
        double cost = backlog_us(core, worker) + (task.crowded_out ? 1e6 : 1) * copying;
        auto &chosen = room ? best : full;
        auto &lowest = room ? least : least_full;
        if (chosen && cost >= lowest) return;
        chosen = id;
        lowest = cost;
    };
    for (const auto &[node, on_node] : bytes)
        if (auto workers = core.nodes.find(std::string(node)); workers != core.nodes.end())
            for (auto id : workers->second) consider(id, on_node);
    if (!core.idle_order.empty()) {
        auto idlest = core.idle_order.begin()->second;
        auto here = bytes.find(core.workers.at(idlest).about.node);
        consider(idlest, here == bytes.end() ? 0 : here->second);
    }
    // Where none has room it waits here, for whoever has it first.
    return best && full && least_full < least ? full : best;
}

std::uint64_t surplus(const Worker &worker) {
    std::uint64_t busy = worker.slots + worker.asked;
    return worker.load() > busy ? worker.load() - busy : 0;
}

std::optional<WorkerId> donor(const Core &core) {
    std::optional<WorkerId> best;
    std::uint64_t most = 0;
    auto consider = [&](WorkerId id, const Worker &worker) {
        if (auto n = surplus(worker); n > most) {
            most = n;
            best = id;
        }
    };
    if (core.idle_order.size() < core.workers.size()) { // the fullest may be none of these
        for (const auto &[id, worker] : core.workers) consider(id, worker);
        return best;
    }
    // The fullest stand last; each runs one of its tasks at least.
    for (auto it = core.idle_order.rbegin(); it != core.idle_order.rend(); ++it) {
        if (it->first <= most + 1) break;
        consider(it->second, core.workers.at(it->second));
    }
    return best;
}

} // namespace dtask::scheduler::placement

// SPDX-License-Identifier: Apache-2.0
// The reactor's dispatch: ready tasks to workers with room.
#include "runtime/scheduler/reactor.h"

#include <algorithm>
#include <list>
#include <set>
#include <utility>
#include <vector>

#include "runtime/scheduler/data.h"
#include "runtime/scheduler/life.h"
#include "runtime/scheduler/placement.h"

namespace dtask::scheduler {

namespace {

using State = Task::State;

void send_function(Reactor r, WorkerId worker, Function &function) {
    if (function.holders.empty()) function.tried_us = r.clock.now_us();
    if (function.holders.insert(worker).second)
        r.comm.function(worker, function.id, function.name, function.pickled, function.cpus);
}

// To a worker with room, whose place in `idle_order` is the caller's to change.
void assign(Reactor r, TaskId id, Task &task, WorkerId worker_id, Worker &worker) {
    life::leave_ready(r.core, id, task);
    task.worker = worker_id;
    task.instance.value++;
    task.state = State::gathering;
    worker.assigned.push_back(id);
    task.function->under_way++;
    worker.slots = placement::slots(worker, *task.function);
    if (task.restricted)
        for (const auto &[name, amount] : task.restricted->needs->resources)
            worker.used[name] += amount;
    std::set<TaskId> asked;
    for (auto input : task.inputs) {
        Task &source = r.core.tasks.at(input);
        if (source.size == 0 || !asked.insert(input).second) continue;
        if (!data::bring(r, input, source, worker_id, {id, task.instance})) task.missing++;
    }
    if (task.missing == 0) send_run(r, id, task);
}

// Gives the worker up to `share` tasks, as long as the next one could as well
// run elsewhere; false where it has no room for it.
bool feed(Reactor r, WorkerId worker_id, Worker &worker) {
    bool fed = false;
    std::uint64_t left = 0;
    TaskId id;
    for (Task *task; (task = life::next_ready(r.core, id)) != nullptr; left--) {
        if (fed && placement::has_stored_inputs(r.core, *task)) return true;
        const Function &function = *task->function;
        auto depth = placement::depth(worker, function);
        if (worker.load() >= depth) return fed;
        if (!fed)
            left = placement::share(depth - worker.load(), r.core.ready_count,
                                    r.core.idle_order.size() + 1, function.mean_us);
        if (left == 0) return true;
        assign(r, id, *task, worker_id, worker);
        fed = true;
    }
    return fed;
}

// A worker that could run more and nothing ready: ask the fullest one for half
// of what it has not begun. It says which it gives back; the rest it finishes
// itself.
void rebalance(Reactor r) {
    if (r.core.idle_order.empty() || r.core.ready_count > 0 || r.core.answering > 0) return;
    if (r.core.over == 0) return;
    const auto &[load, idle] = *r.core.idle_order.begin();
    if (load >= r.core.workers.at(idle).slots) return;
    auto donor = placement::donor(r.core);
    if (!donor) return;
    Worker &worker = r.core.workers.at(*donor);
    std::uint64_t wanted = (placement::surplus(worker) + 1) / 2;
    for (auto it = worker.assigned.rbegin(); it != worker.assigned.rend() && wanted > 0; ++it) {
        Task &task = r.core.tasks.at(*it);
        // One that was given back once came here for its inputs.
        if (task.asked || task.stays || task.restricted || task.state != State::assigned) continue;
        task.asked = true;
        worker.asked++;
        wanted--;
        r.comm.retract(*donor, *it, task.instance);
        if (!std::exchange(worker.answering, true)) r.core.answering++;
    }
}

// No worker is left and none will come: whoever waits would wait for ever. Of
// those whose nodes are out of reach nobody says that they will not come.
void give_up_if_none_is_left(Reactor r) {
    const auto &unfit = r.core.unfit;
    if (!r.core.workers.empty()) return;
    std::string why;
    if (!unfit.empty() && unfit.size() >= r.core.settings.expected)
        why = "; the first to go: " + unfit.begin()->second.message;
    else if (r.core.alone_us && r.clock.now_us() - *r.core.alone_us > r.core.settings.lonely_us)
        why = ", and none has come for " + std::to_string(r.core.settings.lonely_us / 1'000'000) +
              " s";
    else
        return;
    std::vector<TaskId> all;
    r.core.tasks.each([&](TaskId id, const Task &) { all.push_back(id); });
    std::ranges::sort(all); // what others wait for fails first, and they with it
    for (auto id : all) {
        Task *found = r.core.tasks.find(id);
        if (!found || found->state == State::ended) continue;
        proto::Failure failure;
        failure.kind = proto::FailureKind::lost;
        failure.message = "no worker is left" + why;
        life::fail(r, id, *found, std::move(failure));
    }
}

std::string text_of(const proto::Needs &needs) {
    std::string text;
    for (const auto &name : needs.workers)
        text.append(text.empty() ? "one of " : ", ").append(name);
    for (const auto &[name, amount] : needs.resources)
        text.append(text.empty() ? "" : "; ").append(std::to_string(amount) + " of " + name);
    return text;
}

// Tasks that no worker can ever run, once all that will come are there, fail.
void refuse_if_none_suits(Reactor r, const Restricted &restricted) {
    auto count = worker_count(r.core);
    bool all = count.n >= count.expected && count.n > 0;
    auto suits = [&](const auto &entry) {
        return placement::suits(entry.second, *restricted.needs);
    };
    if (!all || std::ranges::any_of(r.core.workers, suits)) return;
    auto needs = *restricted.needs;
    std::vector<TaskId> refused;
    for (const auto &[priority, queue] : restricted.ready)
        queue.each([&](TaskId id) { refused.push_back(id); });
    for (auto id : refused) {
        Task *found = r.core.tasks.find(id);
        if (!found || found->state != State::ready) continue;
        proto::Failure failure;
        failure.kind = proto::FailureKind::unsuited;
        failure.message = life::name_of(*found) + ": no worker is " + text_of(needs);
        life::fail(r, id, *found, std::move(failure));
    }
}

// Each kind of need by itself, so that none waits behind another.
void dispatch_restricted(Reactor r) {
    if (r.core.restricted_count == 0) return;
    std::vector<proto::Needs> kinds;
    for (const auto &[needs, restricted] : r.core.restricted)
        if (!restricted.ready.empty()) kinds.push_back(needs);
    for (const auto &needs : kinds) {
        auto found = r.core.restricted.find(needs);
        if (found == r.core.restricted.end()) continue; // failed with another kind
        auto &queue = found->second.ready;
        while (!queue.empty()) {
            TaskId id = queue.begin()->second.first();
            Task &task = r.core.tasks.at(id);
            auto worker = placement::suitable(r.core, task);
            if (!worker) break;
            Worker &to = r.core.workers.at(*worker);
            life::LoadChange change(r.core, *worker, to);
            assign(r, id, task, *worker, to);
        }
        if (!queue.empty()) refuse_if_none_suits(r, found->second);
    }
}

} // namespace

void send_run(Reactor r, TaskId id, Task &task) {
    task.state = State::assigned;
    send_function(r, task.worker, *task.function);
    std::vector<Input> inputs;
    std::list<std::string> paths; // which stay where they are
    inputs.reserve(task.inputs.size());
    for (auto input : task.inputs) {
        Task &source = r.core.tasks.at(input);
        if (source.size == 0) {
            inputs.push_back({source.body.view(), false});
        } else {
            paths.push_back(data::path_on(r.core, input, source, task.worker));
            inputs.push_back({paths.back(), true});
        }
    }
    r.comm.run(task.worker, task.function->id, id, task.instance, task.timeout_ms, inputs,
               task.body.view());
}

bool dispatch(Reactor r) {
    bool again = false; // there is more that could be sent, soon
    give_up_if_none_is_left(r);
    dispatch_restricted(r);
    // Least loaded first; one that has no room for the next task waits outside
    // until the pass is over.
    std::vector<WorkerId> full;
    TaskId next;
    while (r.core.ready_count > 0 && !r.core.idle_order.empty()) {
        WorkerId id = r.core.idle_order.begin()->second;
        Task *task = life::next_ready(r.core, next);
        again = placement::on_trial(*task->function, r.clock) ||
                placement::enough_under_way(r.core, *task->function, r.clock);
        if (again) break;
        if (placement::has_stored_inputs(r.core, *task)) {
            auto nearest = placement::nearest(r.core, *task);
            if (!nearest) break;
            Worker &there = r.core.workers.at(*nearest);
            life::LoadChange change(r.core, *nearest, there);
            assign(r, next, *task, *nearest, there);
            continue;
        }
        Worker &worker = r.core.workers.at(id);
        life::leave_idle_order(r.core, id, worker);
        if (feed(r, id, worker))
            life::enter_idle_order(r.core, id, worker);
        else
            full.push_back(id);
    }
    for (auto id : full) life::enter_idle_order(r.core, id, r.core.workers.at(id));
    rebalance(r);
    return again;
}

} // namespace dtask::scheduler

// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/invariants.h"

#include <algorithm>
#include <map>
#include <set>

#include "runtime/scheduler/data.h"
#include "runtime/scheduler/placement.h"

namespace dtask::test {

using namespace scheduler;

void check_invariants(const scheduler::Core &core) {
    using State = Task::State;
    std::map<TaskId, int> ready, assigned;
    std::map<TaskId, std::uint32_t> users, records;
    std::map<WorkerId, std::set<TaskId>> holds_of;
    std::uint64_t answering = 0, over = 0;
    auto count = [&](const Queue &all, const Restricted *kind) {
        std::uint64_t live = 0;
        for (const auto &[priority, queue] : all) {
            holds(!queue.empty());
            queue.each([&, wanted = priority](TaskId id) {
                ready[id]++;
                live++;
                const Task *task = core.tasks.find(id);
                holds_because(task, "ready holds a task that is gone");
                holds(task->state == State::ready && task->priority == wanted);
                holds(task->restricted == kind);
            });
            auto first = queue.first();
            holds(ready.contains(first));
            queue.each([&](TaskId id) { holds(!(id < first)); });
        }
        return live;
    };
    holds(core.ready_count == count(core.ready, nullptr));
    std::map<const Restricted *, std::uint64_t> kinds;
    std::uint64_t restricted = 0;
    for (const auto &[needs, kind] : core.restricted) {
        holds(kind.needs == &needs);
        restricted += count(kind.ready, &kind);
    }
    holds(core.restricted_count == restricted);
    for (const auto &[id, worker] : core.workers) {
        std::uint64_t asked = 0;
        proto::Resources used;
        for (auto task_id : worker.assigned) {
            assigned[task_id]++;
            const Task *task = core.tasks.find(task_id);
            holds_because(task, "a worker holds a task that is gone");
            bool at_worker = task->state == State::assigned || task->state == State::gathering;
            holds(at_worker && task->worker == id);
            asked += task->asked;
            if (!task->restricted) continue;
            holds(placement::suits(worker, *task->restricted->needs));
            for (const auto &[name, amount] : task->restricted->needs->resources)
                used[name] += amount;
        }
        holds(worker.asked == asked);
        for (const auto &[name, amount] : worker.used) {
            holds(amount == used[name]);
            holds(amount <= placement::amount_of(worker, name));
        }
        answering += worker.answering;
        bool idle = core.idle_order.contains({worker.load(), id});
        holds(idle == placement::may_take(worker));
        holds(idle == worker.in_idle_order && !worker.changing);
        holds(worker.over == (worker.load() > worker.about.concurrency));
        over += worker.over;
    }
    holds(core.answering == answering && core.over == over);
    std::set<WorkerId> idle;
    for (auto [load, id] : core.idle_order)
        holds_because(core.workers.contains(id) && idle.insert(id).second,
                      "idle_order holds a worker twice, or one that is gone");
    std::map<FunctionId, std::uint64_t> needs, under_way;
    std::uint64_t keys = 0;
    core.tasks.each([&](TaskId id, const Task &task) {
        holds(ready[id] == (task.state == State::ready ? 1 : 0));
        bool at_worker = task.state == State::assigned || task.state == State::gathering;
        holds(assigned[id] == (at_worker ? 1 : 0));
        under_way[task.function->id] += at_worker;
        holds_because(task.wanted || task.users + task.records > 0, "a task outlives its use");
        holds(!task.wanted || task.state != State::ended);
        holds(!task.kept || (task.promised && task.state == State::ended && !task.failed));
        holds(!task.promised || task.kept || task.wanted);
        holds(task.tries < core.settings.max_tries || task.failed);
        holds(task.failed == core.failures.contains(id));
        holds(task.state == State::ended || (task.size == 0 && task.copies.empty()));
        bool may_run = task.state != State::ended || task.size > 0;
        holds(may_run || task.inputs.empty());
        for (auto input : task.inputs) {
            (task.state == State::ended ? records : users)[input]++;
            holds_because(core.tasks.contains(input), "an input is gone before its use");
        }
        users[id] += task.kept;
        std::uint32_t missing = 0;
        for (auto input : std::set<TaskId>(task.inputs.begin(), task.inputs.end())) {
            const Task &source = core.tasks.at(input);
            if (task.state == State::waiting || task.state == State::ready) {
                holds_because(!source.failed, "a task waits for what has failed");
                missing += !data::available(source);
                bool told = std::ranges::find(source.heirs, id) != source.heirs.end();
                holds_because(told || (source.state == State::ended && source.size == 0),
                              "a task is not told of its input");
            }
            if (task.state != State::gathering || source.size == 0) continue;
            bool waits = false;
            for (const auto &copy : source.copies)
                waits = waits || std::ranges::find_if(copy.users, [&](const Dispatch &run) {
                                     return run.task == id && run.instance == task.instance;
                                 }) != copy.users.end();
            missing += waits;
            const auto &node = core.workers.at(task.worker).about.node;
            bool comes = std::ranges::any_of(source.copies, [&](const Copy &copy) {
                return core.workers.at(copy.worker).about.node == node;
            });
            holds_because(comes, "a task gathers what is neither there nor on its way");
        }
        holds(task.missing == missing);
        if (task.state == State::waiting || task.state == State::gathering) holds(missing > 0);
        bool lost = task.state == State::ended && task.size > 0 && !data::available(task);
        holds_because(!lost || task.users == 0 || task.failed, "nobody makes a lost value again");
        for (const auto &copy : task.copies) {
            holds_because(core.workers.contains(copy.worker), "a lost worker has a copy");
            holds(holds_of[copy.worker].insert(id).second);
            holds(copy.there == copy.users.empty() || !copy.there);
        }
        needs[task.function->id]++;
        if (task.restricted) kinds[task.restricted]++;
        auto client = core.clients.find(task.client);
        holds_because(client != core.clients.end(), "a task outlives its client");
        const TaskId *named = client->second.tasks.find(task.key);
        holds(named && *named == id);
    });
    for (const auto &[id, client] : core.clients) {
        keys += client.tasks.size();
        for (const auto &[number, members] : client.graphs)
            for (auto member : members) users[member]++;
        for (auto [number, function] : client.functions)
            holds_because(core.functions.contains(function), "a client's function is gone");
    }
    holds(keys == core.tasks.size());
    for (const auto &[needed, kind] : core.restricted)
        holds(kind.tasks > 0 && kind.tasks == kinds[&kind]);
    core.tasks.each([&](TaskId id, const Task &task) {
        holds(task.users == users[id]);
        holds(task.records == records[id]);
    });
    std::uint64_t ended = 0;
    core.tasks.each([&](TaskId, const Task &task) { ended += task.state == State::ended ? 1 : 0; });
    holds(core.ended == ended);
    std::size_t at_nodes = 0;
    for (const auto &[id, worker] : core.workers) {
        holds((holds_of[id] == std::set<TaskId>(worker.holds.begin(), worker.holds.end())));
        at_nodes += core.nodes.at(worker.about.node).contains(id);
    }
    holds(at_nodes == core.workers.size());
    for (const auto &[id, function] : core.functions) {
        holds(function.tasks == needs[id] && function.under_way == under_way[id]);
        holds(function.id == id);
        holds(function.orphan == !core.clients.contains(function.client));
        holds_because(!function.orphan || function.tasks > 0, "a function outlives its use");
        for (auto holder : function.holders)
            holds_because(core.workers.contains(holder), "a lost worker holds a function");
    }
}

} // namespace dtask::test

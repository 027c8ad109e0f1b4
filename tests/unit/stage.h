// SPDX-License-Identifier: Apache-2.0
//
// Stage: a scheduler's core with a clock that stands still and a Comm that
// records; and the check of every invariant that core.h states.
#pragma once

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "runtime/scheduler/data.h"
#include "runtime/scheduler/placement.h"
#include "runtime/scheduler/reactor.h"
#include "tests/fakes/clock.h"
#include "tests/fakes/comm.h"
#include "tests/unit/unit.h"

namespace dtask::test {

// Where much is checked: ck_assert writes to a file each time, passed or not.
#define holds(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) abort_test("does not hold: %s", #condition);                             \
    } while (0)
#define holds_because(condition, ...)                                                              \
    do {                                                                                           \
        if (!(condition)) abort_test(__VA_ARGS__);                                                 \
    } while (0)

/// The end of the test where an invariant of core.h does not hold.
inline void check_invariants(const scheduler::Core &core) {
    using namespace scheduler;
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
    std::map<FunctionId, std::uint64_t> needs;
    std::uint64_t keys = 0;
    core.tasks.each([&](TaskId id, const Task &task) {
        holds(ready[id] == (task.state == State::ready ? 1 : 0));
        bool at_worker = task.state == State::assigned || task.state == State::gathering;
        holds(assigned[id] == (at_worker ? 1 : 0));
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
        holds(function.tasks == needs[id]);
        holds(function.id == id);
        holds(function.orphan == !core.clients.contains(function.client));
        holds_because(!function.orphan || function.tasks > 0, "a function outlives its use");
        for (auto holder : function.holders)
            holds_because(core.workers.contains(holder), "a lost worker holds a function");
    }
}

/// A message `graph` in the making; function 1, arguments "aN".
struct Graph {
    proto::Graph message;

    explicit Graph(std::uint64_t number = 1) { message.graph = number; }
    Graph &task(std::uint64_t key, const proto::Column &inputs = {}, bool wanted = false) {
        auto args = "a" + std::to_string(key);
        message.f.push_back(1);
        message.k.push_back(key);
        message.inputs.push_back(inputs.size());
        message.in.insert(message.in.end(), inputs.begin(), inputs.end());
        message.wanted.push_back(wanted);
        message.len.push_back(args.size());
        message.payload += args;
        return *this;
    }
    Graph &complete() {
        message.complete = true;
        return *this;
    }
};

struct Stage {
    scheduler::Core core;
    fakes::RecordingComm comm;
    fakes::ManualClock clock;
    std::uint64_t next_slurm_task = 0;

    Stage() {
        core.settings.expected = 2;
        core.started_us = clock.now_us();
    }
    scheduler::Reactor reactor() { return {core, comm, clock}; }

    ClientId client() { return on_new_client(reactor()); }
    /// A client with function 1, "f".
    ClientId client_with_function() {
        auto id = client();
        function(id, 1);
        return id;
    }
    void function(ClientId client, std::uint64_t f, const char *name = "f") {
        must(on_function(reactor(), client, {f, name, "pickled"}));
    }
    /// Tasks first..first+count-1, each with the arguments "aN".
    void submit(ClientId client, std::uint64_t first, std::uint64_t count, std::uint64_t f = 1,
                std::uint64_t retries = 0, std::int64_t priority = 0) {
        must(on_submit(reactor(), client, message(first, count, f, retries, priority)));
    }
    static proto::Submit message(std::uint64_t first, std::uint64_t count, std::uint64_t f = 1,
                                 std::uint64_t retries = 0, std::int64_t priority = 0) {
        proto::Submit m;
        m.f = f;
        m.retries = retries;
        m.priority = priority;
        for (std::uint64_t key = first; key < first + count; key++) {
            auto args = "a" + std::to_string(key);
            m.k.push_back(key);
            m.len.push_back(args.size());
            m.payload += args;
        }
        return m;
    }
    /// On a node of its own unless one is given; its store is /sN, its listener wN.
    WorkerId worker(std::uint64_t concurrency = 1, const std::string &node = {}) {
        proto::Register about;
        about.task = next_slurm_task++;
        about.node = node.empty() ? "n" + std::to_string(about.task) : node;
        about.store = "/s" + std::to_string(about.task);
        about.address = "w" + std::to_string(about.task);
        about.name = about.node + "." + std::to_string(about.task);
        about.concurrency = concurrency;
        about.resources["gpu"] = about.task % 3;
        return on_new_worker(reactor(), about);
    }
    bool dispatch() {
        bool again = scheduler::dispatch(reactor());
        check_invariants(core);
        return again;
    }
    void done(WorkerId worker, TaskId task, InstanceId instance, const std::string &value = "v",
              std::uint64_t us = 1'000'000, bool raised = false) {
        must(on_done(reactor(), worker,
                     {{task.value}, {instance.value}, {us}, {raised}, {value.size()}, value}));
        check_invariants(core);
    }
    void done(const fakes::RecordingComm::Run &run, const std::string &value = "v",
              std::uint64_t us = 1'000'000) {
        done(run.worker, run.task, run.instance, value, us);
    }
    /// With a value that stays in the worker's store.
    void stored(const fakes::RecordingComm::Run &run, std::uint64_t size = 1'000'000) {
        proto::Done report{
            {run.task.value}, {run.instance.value}, {1'000'000}, {0}, {0}, {}, {size}};
        must(on_done(reactor(), run.worker, report));
        check_invariants(core);
    }
    void fetched(const fakes::RecordingComm::Fetch &fetch) {
        on_fetched(reactor(), fetch.worker, fetch.data);
        check_invariants(core);
    }
    void unfetched(const fakes::RecordingComm::Fetch &fetch, bool full = false) {
        on_unfetched(reactor(), fetch.worker,
                     {fetch.data.value, full ? "/disk has no room" : "connection refused", full});
        check_invariants(core);
    }
    void send(ClientId client, const Graph &graph) {
        must(on_graph(reactor(), client, graph.message));
        check_invariants(core);
    }
    /// The one task that was sent.
    fakes::RecordingComm::Run one_run() {
        auto runs = comm.take_runs();
        ck_assert_uint_eq(runs.size(), 1);
        return runs[0];
    }
    /// The one that a dispatch sends.
    fakes::RecordingComm::Run next_run() {
        dispatch();
        return one_run();
    }
    /// All of one worker, in one message.
    void done(const std::vector<fakes::RecordingComm::Run> &runs, std::uint64_t us) {
        proto::Done report;
        for (const auto &run : runs) {
            report.k.push_back(run.task.value);
            report.i.push_back(run.instance.value);
            report.us.push_back(us);
            report.raised.push_back(0);
            report.len.push_back(0);
        }
        must(on_done(reactor(), runs.at(0).worker, report));
        check_invariants(core);
    }
    void raised(const fakes::RecordingComm::Run &run, const std::string &error = "e") {
        done(run.worker, run.task, run.instance, error, 1'000'000, true);
    }
    void failed(const fakes::RecordingComm::Run &run, proto::FailureKind kind,
                const char *message = "it ended with signal 9 (Killed)") {
        proto::Failure failure;
        failure.k = run.task.value;
        failure.i = run.instance.value;
        failure.kind = kind;
        failure.message = message;
        must(on_failed(reactor(), run.worker, failure));
        check_invariants(core);
    }
    void retracted(WorkerId worker, const std::vector<fakes::RecordingComm::Ref> &refs) {
        proto::Refs given_back;
        for (const auto &ref : refs) {
            given_back.k.push_back(ref.task.value);
            given_back.i.push_back(ref.instance.value);
        }
        on_retracted(reactor(), worker, given_back);
        check_invariants(core);
    }
    void lost(WorkerId worker, const char *why = "its connection was closed") {
        on_worker_lost(reactor(), worker, why);
        check_invariants(core);
    }
    /// Nothing more was sent and the state is sound.
    void over() {
        check_invariants(core);
        comm.expect_nothing();
    }
};

} // namespace dtask::test

// SPDX-License-Identifier: Apache-2.0
//
// Core: the scheduler's state and nothing else. The reactor changes it,
// placement reads it.
//
// A task's life (life.h has the steps):
//
//   waiting ──its last input is there──▶ ready ──dispatch──▶ assigned ──▶ ended
//      ▲                                   ▲ │                  ▲ │         │
//      │                                   │ └──▶ gathering ────┘ │         │
//      │                                   │       └─given back, retry,     │
//      │                                   └─────────worker lost ─┘         │
//      └──its value was lost, and is needed─────────────────────────────────┘
//
// A small value comes with the report of its task and stays here; a large one
// stays with the worker that made it, and with those that copied it (data.h).
// A task is gathering while its worker copies inputs that no worker of its
// node has. A value that was lost with its workers is computed anew, from
// inputs that may have to be computed anew themselves: its lineage.
//
// A task of `submit` has no inputs and is ready at once. One of a graph may
// have inputs: tasks of the same client that were named before it, so that
// there is no cycle.
//
// Invariants:
//   - A task is in `tasks` until it has ended and nobody uses it any more; then
//     nothing of it remains. Its users are the tasks that need its value and
//     have not ended, its graph while that is not complete, and its client while
//     it keeps a value that it was told to be with a worker. One that nobody wants, its
//     client or a user, does not run.
//   - A task whose value is with workers keeps its inputs and arguments, to be
//     run again, and with them the records of its inputs (`records`), whose own
//     values may be gone. A record whose value is here keeps it.
//   - `missing` of a waiting task counts its inputs without a value, each once,
//     that of a gathering one those on their way; above 0 for these, 0 for others.
//   - A ready task stands once in `ready`, or in the queue of its `restricted`; a gathering or
//   assigned one stands once
//     in its worker's `assigned`, and its `instance` is that of the dispatch.
//   - What a worker `holds` are the tasks that have a copy of their value there.
//   - `idle_order` holds every worker that may take more, once, keyed by load, and `over` counts
//     those with a load above their concurrency.
//   - A function lives while its client is connected or a task needs it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/few.h"
#include "lib/base/ids.h"
#include "lib/base/line.h"
#include "lib/base/paged.h"
#include "lib/proto/message.h"
#include "runtime/scheduler/history.h"
#include "runtime/scheduler/queue.h"

namespace dtask::scheduler {

/// Times in µs, sizes in bytes.
struct Settings {
    std::string id, engine, address;
    std::int64_t began_s = 0;             ///< when it began, in seconds since 1970
    std::uint64_t expected = 0;           ///< workers that the step should have
    std::set<std::uint64_t> tasks = {};   ///< Slurm tasks that should have one
    unsigned max_tries = 3;               ///< executions of a task whose executor or worker dies
    std::int64_t silence_us = 60'000'000; ///< after which a worker counts as lost
    std::int64_t lonely_us = 120'000'000; ///< without a worker, after which none is waited for
};

/// Tasks that not every worker may run, alike in what they need.
struct Restricted {
    const proto::Needs *needs = nullptr; ///< its key in Core::restricted
    Queue ready;
    std::uint64_t tasks = 0; ///< in whatever state
};

struct Function {
    FunctionId id;
    ClientId client;
    std::string name;
    std::string pickled;
    std::uint64_t cpus = 0;       ///< that each of its tasks takes, where they are commands; else 0
    double mean_us = -1;          ///< running mean of its run times; below 0 = not known yet
    std::int64_t tried_us = 0;    ///< when the first worker was sent it
    std::uint64_t tasks = 0;      ///< tasks that need it
    std::uint64_t under_way = 0;  ///< of them, gathering or assigned
    std::int64_t reported_us = 0; ///< when a worker last told that some of them are done
    bool orphan = false;          ///< its client has gone
    std::unordered_set<WorkerId> holders; ///< workers that were sent it
};

/// One dispatch of a task.
struct Dispatch {
    TaskId task;
    InstanceId instance;
};

/// A value in a worker's store.
struct Copy {
    WorkerId worker;
    bool there = false;          ///< else it is on its way,
    WorkerId source;             ///< from here,
    std::vector<Dispatch> users; ///< for these
};

/// The copies of a value. Few tasks have any, so there is a list for these only.
class Copies {
public:
    bool empty() const { return !list_ || list_->empty(); }
    std::size_t size() const { return list_ ? list_->size() : 0; }
    Copy *begin() const { return list_ ? list_->data() : nullptr; }
    Copy *end() const { return begin() + size(); }
    void push_back(Copy copy) {
        if (!list_) list_ = std::make_unique<std::vector<Copy>>();
        list_->push_back(std::move(copy));
    }
    void erase(Copy *copy) {
        list_->erase(list_->begin() + (copy - begin()));
        if (list_->empty()) list_.reset();
    }

private:
    std::unique_ptr<std::vector<Copy>> list_;
};

/// A million of them wait at a time: what all have stands in place, in the order
/// in which it packs, and what few have elsewhere.
struct Task {
    enum class State : std::uint8_t { waiting, ready, gathering, assigned, ended };

    ClientId client;
    std::uint64_t key = 0; ///< the client's own number
    Function *function = nullptr;
    std::int64_t priority = 0;
    Restricted *restricted = nullptr; ///< null: any worker will do
    InstanceId instance;              ///< of the last dispatch
    WorkerId worker;                  ///< where assigned

    Few<TaskId, 2> inputs; ///< in the order in which the arguments name them
    Few<TaskId> heirs;     ///< tasks that have it as an input, each once; any may have ended
    /// Its arguments, as long as it may run; of one that ended well and whose value is
    /// here, that, while it has users.
    Bytes body;
    std::uint32_t missing = 0;
    std::uint32_t users = 0;
    std::uint32_t records = 0;    ///< of ended tasks that would need it to be computed anew
    std::uint32_t timeout_ms = 0; ///< of one execution; 0: none
    std::uint32_t tries = 0;      ///< executions begun that were lost
    std::uint16_t retries = 0;    ///< left, for raised exceptions
    State state = State::waiting;
    bool wanted = true; ///< its client is to be told the outcome, and has not been
    /// Its client was told where the value is, and has not released it: it may name it.
    bool promised = false;
    bool kept = false;  ///< that, and the value is somewhere
    bool asked = false; ///< its worker was asked to give it back, and may have refused
    bool stays = false; ///< it came here for its inputs, once given back; not asked for again
    /// There was no room for an input where it was to run: better where they all are.
    bool crowded_out = false;
    bool failed = false;
    std::uint64_t size = 0; ///< bytes of a value that is with workers; 0: it is here
    Copies copies;          ///< of that value
};

/// There may be thousands: what each task of theirs touches stands together, in front.
struct Worker {
    Line<TaskId> assigned;     ///< in the order of dispatch, which it also runs them in
    std::uint64_t asked = 0;   ///< of them, asked back; those it has begun stay
    std::uint64_t blocked = 0; ///< of `assigned`, begun, and holding no slot: they wait for others
    std::uint64_t slots = 1;   ///< tasks that it runs at a time, of the kind that it had last
    std::uint64_t done = 0;
    std::int64_t heard_us = 0;
    bool answering = false; ///< it was asked for tasks, and has not answered yet
    bool in_idle_order = false;
    bool over = false;     ///< it is counted in Core::over
    bool changing = false; ///< its load is (life.h, LoadChange): it is in no order meanwhile

    proto::Register about;
    proto::Stat stat;                 ///< the latest,
    std::int64_t stat_us = 0;         ///< and when it came; 0: none has
    std::uint64_t cpu = 0;            ///< percent of one CPU, between the latest two
    proto::Resources used;            ///< by those of `assigned` that need some
    std::unordered_set<TaskId> holds; ///< whose values, there or on their way

    /// Tasks that run there or are queued.
    std::uint64_t load() const { return assigned.size() > blocked ? assigned.size() - blocked : 0; }
};

struct Client {
    std::unordered_map<std::uint64_t, FunctionId> functions; ///< by the client's number
    Paged<std::uint64_t, TaskId> tasks;                      ///< by the client's number
    /// Graphs that are not complete, by the client's number: their tasks are
    /// kept, for what is still to come may name them.
    std::unordered_map<std::uint64_t, std::vector<TaskId>> graphs;
    /// Why values are gone that were promised, until the client releases them.
    std::unordered_map<std::uint64_t, proto::Failure> broken_promises;
    std::uint64_t highest = 0; ///< number of its tasks so far, as a rule
};

struct Core {
    Settings settings;
    std::int64_t started_us = 0;
    std::optional<std::int64_t> ticked_us; ///< last on_tick
    std::int64_t awake_us = 0;             ///< since when there was no gap between ticks
    std::optional<std::int64_t>
        alone_us; ///< since when the last worker is gone; none went: nothing

    Paged<TaskId, Task, 32> tasks;
    std::unordered_map<FunctionId, Function> functions;
    std::unordered_map<WorkerId, Worker> workers;
    std::unordered_map<ClientId, Client> clients;
    std::unordered_map<std::string, std::set<WorkerId>> nodes; ///< workers by node

    Queue ready; ///< those that any worker may run
    std::uint64_t ready_count = 0;
    std::map<proto::Needs, Restricted> restricted;
    std::uint64_t restricted_count = 0; ///< of ready ones
    /// Why tasks failed that stay for their graph's sake.
    std::unordered_map<TaskId, proto::Failure> failures;
    std::set<std::pair<std::uint64_t, WorkerId>> idle_order; ///< (load, worker)
    std::uint64_t over = 0; ///< workers that have more tasks than they run at a time
    std::map<std::uint64_t, proto::Unfit> unfit; ///< by Slurm task id
    std::set<std::uint64_t> seen; ///< Slurm tasks whose worker has come, or told that it will not

    std::uint64_t answering = 0; ///< workers that were asked and have not answered yet
    std::uint64_t ended = 0;     ///< of `tasks`
    std::uint64_t done = 0, failed = 0;
    std::uint64_t retried = 0; ///< executions that another one follows
    std::uint64_t busy_us = 0; ///< run time of all that were reported
    History history;
    std::uint64_t last_id = 0; ///< tasks, functions, workers and clients share one count
};

} // namespace dtask::scheduler

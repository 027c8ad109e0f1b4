// SPDX-License-Identifier: Apache-2.0
//
// Core: the scheduler's state and nothing else. The reactor changes it,
// placement reads it.
//
// A task's life (life.h has the steps):
//
//   waiting ──its last input is there──▶ ready ──dispatch──▶ assigned ──▶ ended
//                                          ▲                    │
//                                          └─given back, retry, │
//                                            worker lost ───────┘
//
// A task of `submit` has no inputs and is ready at once. One of a graph may
// have inputs: tasks of the same client that were named before it, so that
// there is no cycle.
//
// Invariants:
//   - A task is in `tasks` until it has ended and nobody uses it any more; then
//     nothing of it remains. Its users are the tasks that need its value and
//     have not ended, and its graph while that is not complete. One that nobody
//     wants, its client or a user, does not run.
//   - `missing` of a waiting task counts its inputs without a value, and is
//     above 0; that of any other is 0. What has ended needs its inputs no more.
//   - A ready task stands once in `ready`; an assigned one stands once in its
//     worker's `assigned`, and its `instance` is that of the dispatch.
//   - `idle_order` holds every worker that may take more, once, keyed by load.
//   - A function lives while its client is connected or a task needs it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/ids.h"
#include "lib/proto/message.h"

namespace dtask::scheduler {

/// Times in µs, sizes in bytes.
struct Settings {
    std::string id, engine, address;
    std::uint64_t expected = 0; ///< workers that the step should have
    unsigned max_tries = 3;     ///< executions of a task whose executor or worker dies
    std::int64_t worker_silence_us = 60'000'000; ///< after which a worker counts as lost
};

struct Function {
    ClientId client;
    std::string name;
    std::string pickled;
    double mean_us = -1;     ///< running mean of its run times; below 0 = not known yet
    std::uint64_t tasks = 0; ///< tasks that need it
    bool orphan = false;     ///< its client has gone
    std::unordered_set<WorkerId> holders; ///< workers that were sent it
};

struct Task {
    enum class State : std::uint8_t { waiting, ready, assigned, ended };

    ClientId client;
    std::uint64_t key = 0; ///< the client's own number
    FunctionId function;
    std::string args;
    std::int64_t priority = 0;
    std::uint32_t retries = 0; ///< left, for raised exceptions
    std::uint32_t tries = 0;   ///< executions begun that were lost
    State state = State::waiting;
    bool wanted = true; ///< its client is to be told the outcome, and has not been
    bool asked = false; ///< its worker was asked to give it back, and may have refused
    bool failed = false;
    InstanceId instance; ///< of the last dispatch
    WorkerId worker;     ///< where assigned

    std::vector<TaskId> inputs; ///< in the order in which the arguments name them
    std::vector<TaskId> heirs;  ///< tasks that have it as an input; ended ones may be among them
    std::uint32_t missing = 0;
    std::uint32_t users = 0;
    std::string value; ///< of one that ended well, while it has users
};

struct Worker {
    proto::Register about;
    std::deque<TaskId> assigned; ///< in the order of dispatch, which it also runs them in
    std::uint64_t asked = 0;     ///< of them, asked back; those it has begun stay
    bool answering = false;      ///< it has not answered yet
    std::uint64_t memory = 0;
    std::uint64_t done = 0;
    std::int64_t heard_us = 0;
    bool in_idle_order = false;
};

struct Client {
    std::unordered_map<std::uint64_t, FunctionId> functions; ///< by the client's number
    std::unordered_map<std::uint64_t, TaskId> tasks;         ///< by the client's number
    /// Graphs that are not complete, by the client's number: their tasks are
    /// kept, for what is still to come may name them.
    std::unordered_map<std::uint64_t, std::vector<TaskId>> graphs;
};

struct Core {
    Settings settings;
    std::int64_t started_us = 0;

    std::unordered_map<TaskId, Task> tasks;
    std::unordered_map<FunctionId, Function> functions;
    std::unordered_map<WorkerId, Worker> workers;
    std::unordered_map<ClientId, Client> clients;

    /// Highest priority first, then in the order of submission, which a client
    /// makes depth first for a graph. No queue in it is empty.
    std::map<std::int64_t, std::set<TaskId>, std::greater<>> ready;
    std::uint64_t ready_count = 0;
    /// Why tasks failed that stay for their graph's sake.
    std::unordered_map<TaskId, proto::Failure> failures;
    std::set<std::pair<std::uint64_t, WorkerId>> idle_order; ///< (load, worker)
    std::map<std::uint64_t, proto::Unfit> unfit;             ///< by Slurm task id
    std::set<std::uint64_t> seen; ///< Slurm tasks whose worker has come, or told that it will not

    std::uint64_t answering = 0; ///< workers that were asked and have not answered yet
    std::uint64_t done = 0, failed = 0;
    std::uint64_t last_id = 0; ///< tasks, functions, workers and clients share one count
};

} // namespace dtask::scheduler

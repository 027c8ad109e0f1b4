// SPDX-License-Identifier: Apache-2.0
//
// Core: the scheduler's state and nothing else. The reactor changes it,
// placement reads it.
//
// A task's life:
//
//   ready ──dispatch──▶ assigned ──done, failed──▶ (gone)
//     ▲                    │
//     └─given back, retry, │
//       worker lost ───────┘
//
// Invariants:
//   - A task is in `tasks` from submit until its outcome has been told to its
//     client or nobody is left to tell; then nothing of it remains.
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
    ClientId client;
    std::uint64_t key = 0; ///< the client's own number
    FunctionId function;
    std::string args;
    std::int64_t priority = 0;
    std::uint32_t retries = 0; ///< left, for raised exceptions
    std::uint32_t tries = 0;   ///< executions begun that were lost
    bool assigned = false;
    bool asked = false;  ///< its worker was asked to give it back, and may have refused
    InstanceId instance; ///< of the last dispatch
    WorkerId worker;     ///< where assigned
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
    std::unordered_map<std::uint64_t, TaskId>
        tasks; ///< by the client's number; those without an outcome
};

struct Core {
    Settings settings;
    std::int64_t started_us = 0;

    std::unordered_map<TaskId, Task> tasks;
    std::unordered_map<FunctionId, Function> functions;
    std::unordered_map<WorkerId, Worker> workers;
    std::unordered_map<ClientId, Client> clients;

    /// Highest priority first, then first come first served. Ids of tasks that
    /// were cancelled may stand in it until they come up.
    std::map<std::int64_t, std::deque<TaskId>, std::greater<>> ready;
    std::uint64_t ready_count = 0;                           ///< of live ones
    std::set<std::pair<std::uint64_t, WorkerId>> idle_order; ///< (load, worker)
    std::map<std::uint64_t, proto::Unfit> unfit;             ///< by Slurm task id
    std::set<std::uint64_t> seen; ///< Slurm tasks whose worker has come, or told that it will not

    std::uint64_t answering = 0; ///< workers that were asked and have not answered yet
    std::uint64_t done = 0, failed = 0;
    std::uint64_t last_id = 0; ///< tasks, functions, workers and clients share one count
};

} // namespace dtask::scheduler

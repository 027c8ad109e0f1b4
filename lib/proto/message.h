// SPDX-License-Identifier: Apache-2.0
//
// Message: what peers tell each other, as plain values (doc/protocol.md §3, §4).
// Columns are parallel vectors. Where a message has values of tasks, `payload`
// holds them one after the other and `len` their sizes in bytes.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dtask::proto {

using Column = std::vector<std::uint64_t>;

/// What a worker or a client is greeted with. memory_limit: bytes, 0 = none.
struct Welcome {
    std::string id, engine, address;
    std::uint64_t expected = 0, workers = 0, nthreads = 0, memory_limit = 0;
};

struct WorkerCount {
    std::uint64_t n = 0, expected = 0;
};

/// A worker presents itself.
struct Register {
    std::string name, node, address;
    std::uint64_t task = 0, pid = 0, nthreads = 0, concurrency = 1, memory_limit = 0;
    std::string store = {}; ///< directory of the values that it keeps; empty: it keeps none
    std::map<std::string, std::uint64_t> resources = {}; ///< named ones that it has
    std::string without_group = {}; ///< limits that no cgroup holds: "memory", "cpus" or both
};

/// A task of the step that cannot serve.
struct Unfit {
    std::string node, message;
    std::uint64_t task = 0;
};

/// A Dask worker that has died. address: where it served for Dask; empty: it did not yet.
struct Died {
    std::string name, address, how;
};

struct Function {
    std::uint64_t f = 0;
    std::string name, pickled;
    /// Its tasks are commands that take so many CPUs each, and `pickled` is a model::Command
    /// that they have in common; 0: it is a function of Python.
    std::uint64_t cpus = 0;
};

/// Amounts by name. A worker has `cpus` (its nthreads), `memory` (its limit in
/// bytes) and what it registered.
using Resources = std::map<std::string, std::uint64_t>;

/// What tasks demand of their worker: to be one of these, by name, node or
/// address (none: any), and to have so much free.
struct Needs {
    std::vector<std::string> workers = {};
    Resources resources = {};

    bool empty() const { return workers.empty() && resources.empty(); }
    auto operator<=>(const Needs &) const = default;
};

/// How tasks are to be run.
struct Terms {
    std::uint64_t retries = 0;
    std::int64_t priority = 0;
    std::uint64_t timeout_ms = 0; ///< that one execution may take; 0: any
    Needs needs = {};
};

struct Submit : Terms {
    std::uint64_t f = 0;
    Column k;
    Column len;
    std::string payload;
};

/// Part of a graph. `inputs` are counts, `in` holds the keys of all inputs, one
/// task's after the other's; `wanted`: 1 where the client is to be told the outcome.
struct Graph : Terms {
    std::uint64_t graph = 0;
    bool complete = false; ///< nothing more of it will come
    Column f, k, inputs, in, wanted, len;
    std::string payload;
};

/// Tasks on their way to a worker. A task's share of the payload is its inputs
/// and then its arguments; `inputs` are counts, `in` the lengths of the values
/// of all inputs. Both are empty where no task has inputs. `held` is parallel to
/// `in`: 1 where the input's path stands in place of its value; empty: nowhere.
struct Run {
    Column f, k, i, inputs, in, len;
    std::string payload;
    Column held = {};
    Column timeout = {}; ///< ms that each may run, 0: any; empty: none has a limit
};

/// Tasks by number and instance: retract, kill, retracted.
struct Refs {
    Column k, i;
    bool empty() const { return k.empty(); }
};

/// Finished tasks; us: run time in µs; raised: 1 where the value is an error;
/// stored: size of a value that stays in the worker's store, else 0; empty: none does.
struct Done {
    Column k, i, us, raised, len;
    std::string payload;
    Column stored = {};
};

/// Results on their way to a client.
struct Results {
    Column k, len;
    std::string payload;
};

/// A value stays with a worker until its client releases it; `at`: whom to ask for it.
struct Stored {
    std::uint64_t k = 0, data = 0, size = 0;
    std::string at;
};

/// A client could not have a value there.
struct LostValue {
    std::uint64_t k = 0;
    std::string at;
};

/// A worker is to bring a value into its store. `from`: host:port of another's listener.
struct Fetch {
    std::uint64_t data = 0, size = 0;
    std::string from;
};

struct Unfetched {
    std::uint64_t data = 0;
    std::string message;
    bool full = false; ///< there is no room for it on this node: its source is not to blame
};

/// What a command has written since the last one: whole lines of each, as a rule. To its client `k`
/// is the client's own number.
struct Output {
    std::uint64_t k = 0, i = 0;
    std::string output, errors;
};

enum class FailureKind {
    raised,
    memory,
    crashed,
    cancelled,
    too_large,
    lost,
    missing,
    timeout,
    unsuited, ///< no worker has what it needs
    full,     ///< its worker's node has no room for an input
};
std::string_view name_of(FailureKind kind);
std::optional<FailureKind> find_kind(std::string_view name);

/// A task that failed. From a worker `i` counts and worker, node and tries are
/// empty; to a client the reverse. limit and peak in bytes; 0 = does not apply.
struct Failure {
    std::uint64_t k = 0, i = 0;
    FailureKind kind = FailureKind::crashed;
    std::string message, worker, node;
    std::uint64_t signal = 0, exit = 0, limit = 0, peak = 0, tries = 0;
    std::string payload;
};

/// What a worker tells of itself once a second. Bytes; times in µs.
struct Stat {
    std::uint64_t memory = 0;       ///< of its executors and the values that it keeps
    std::uint64_t peak = 0;         ///< the most that it has been
    std::uint64_t cpu_us = 0;       ///< CPU time of all that it has run
    Column k = {}, i = {}, us = {}; ///< tasks that run, and for how long they have
};

/// A task that runs. `name` is what users call it (ADR 33); `client`: the number of its client.
struct TaskInfo {
    std::string name;
    std::uint64_t client = 0, k = 0;
    std::uint64_t ms = 0; ///< for how long it has run
};

/// cpu: percent of one CPU in the last second or so; sizes in bytes.
struct WorkerInfo {
    Register about;
    std::uint64_t memory = 0, running = 0, queued = 0, done = 0;
    std::uint64_t peak = 0, cpu = 0, cpu_us = 0, heard_ms = 0;
    std::vector<TaskInfo> tasks = {}; ///< of those that run, the first ones
};

/// One of the latest failures.
struct FailureInfo {
    TaskInfo task; ///< ms: of the scheduler's life, when it failed
    FailureKind kind = FailureKind::crashed;
    std::string message, worker, node;
    std::uint64_t tries = 0;
};

struct Info {
    std::string id, engine, address;
    std::uint64_t uptime_s = 0, expected = 0, clients = 0;
    std::uint64_t waiting = 0, running = 0, done = 0, failed = 0;
    std::vector<WorkerInfo> workers;
    std::uint64_t began_s = 0; ///< seconds since 1970
    std::uint64_t uptime_ms = 0;
    std::uint64_t retried = 0;     ///< executions that were followed by another try
    std::uint64_t busy_us = 0;     ///< run time of all executions that were reported
    std::uint64_t recent_ms = 0;   ///< the latest span of ten seconds or less,
    std::uint64_t recent_done = 0; ///< and how many tasks ended well in it
    static constexpr std::size_t most_failures = 32;
    std::vector<FailureInfo> failures = {}; ///< the latest last
};

/// What is to be said of a task. `worker` has it, or had it when it failed; `address`: its
/// listener.
struct Explanation {
    TaskInfo task;
    std::string state; ///< waiting, ready, gathering, queued, running, done, failed or ended
    std::string why;   ///< in words
    std::string worker, address;
    std::uint64_t id = 0, instance = 0; ///< its own to the worker
    std::uint64_t tries = 0;
    bool command = false;
    std::string detail; ///< of a failure: the end of its traceback or of what it wrote
};

} // namespace dtask::proto

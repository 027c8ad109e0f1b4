// SPDX-License-Identifier: Apache-2.0
//
// Ledger: what the scheduler has been told and what it says, kept apart from
// its core, and the promises that both must keep:
//
//   - A call is told to its client once: a value, a place of a value, or a
//     failure that had a cause; none is told that is not wanted, nor to a
//     client that has left. A place may be told again, until it is released.
//   - A call runs on one worker at a time, under a new instance each time, not
//     after its value is known, and only where its needs are met.
//   - It gets its function before, and its inputs as they are: each small value,
//     and for each large one the path of a copy that is on that node.
//   - A copy that a running call reads is not freed but where it was lost.
//   - A worker is sent a function once, and forgets what it has.
//
// Effects arrive by Comm; World feeds the events. Each broken promise ends the
// test by broken().
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/scheduler/reactor.h"
#include "tests/fakes/clock.h"

namespace dtask::model {

[[noreturn]] void broken(const std::string &what);

/// A task, as its client knows it.
struct Call {
    std::uint64_t serial = 0; ///< its arguments are this number, its value value_of()
    ClientId client;
    std::uint64_t key = 0;
    std::string function; ///< pickled
    std::vector<std::uint64_t> inputs;
    proto::Needs needs;
    std::uint64_t retries = 0, timeout_ms = 0;
    bool wanted = false;

    enum class Told { nothing, place, end } told = Told::nothing;
    bool cancelled = false, released = false;

    TaskId id;                      ///< from its first run on
    std::uint64_t instance = 0;     ///< of the last one
    std::optional<WorkerId> at;     ///< where it was sent to and has not been reported from
    std::uint64_t size = 0;         ///< last told, of a value in a store
    bool small = false;             ///< its value is known
    std::vector<std::string> reads; ///< paths of the inputs of the last run
    unsigned raised = 0, killed = 0, too_large = 0, lost = 0; ///< reports that counted
    unsigned crowded = 0; ///< copies of its value for which a node had no room
};

std::string value_of(std::uint64_t serial);

/// A worker, as the scheduler knows it.
struct Known {
    proto::Register about;
    std::set<FunctionId> functions;
    std::set<TaskId> values, fetching;
};

class Ledger : public scheduler::Comm {
public:
    scheduler::Core core;
    fakes::ManualClock clock;
    scheduler::Reactor reactor() { return {core, *this, clock}; }

    std::unordered_map<std::uint64_t, Call> calls; ///< by serial
    std::unordered_map<TaskId, std::uint64_t> serials;
    std::map<ClientId, std::map<std::uint64_t, std::uint64_t>> keys; ///< serials of clients here
    std::map<WorkerId, Known> known;                                 ///< those that have registered

    Call &call_of(ClientId client, std::uint64_t key);
    Call *call_of(TaskId id);
    /// The call, where the scheduler will take a report of this from there.
    Call *reported(WorkerId worker, TaskId id, std::uint64_t instance);
    void left(WorkerId worker); ///< before the event
    /// What core and ledger both know is the same.
    void compare();

    // scheduler::Comm
    void function(WorkerId, FunctionId, std::string_view, std::string_view, std::uint64_t) override;
    void run(WorkerId, FunctionId, TaskId, InstanceId, std::uint32_t,
             std::span<const scheduler::Input>, std::string_view) override;
    void retract(WorkerId, TaskId, InstanceId) override;
    void kill(WorkerId, TaskId, InstanceId) override;
    void forget(WorkerId, FunctionId) override;
    void fetch(WorkerId, TaskId, std::uint64_t, std::string_view) override;
    void free(WorkerId, TaskId) override;
    void drop_worker(WorkerId) override;
    void result(ClientId, std::uint64_t, std::string_view) override;
    void stored(ClientId, std::uint64_t, TaskId, std::uint64_t, std::string_view) override;
    void failed(ClientId, proto::Failure) override;
    void output(ClientId, const proto::Output &) override {} // none of what a task is
    void workers_changed(proto::WorkerCount) override;

protected:
    /// A message to a worker, to be delivered whenever it likes.
    struct Order {
        enum class Kind { run, retract, kill, fetch, free } kind;
        TaskId task;
        InstanceId instance;
        std::string from;
        std::uint64_t turn = 0;
    };
    virtual void deliver(WorkerId to, Order order) = 0;
    struct News {
        std::uint64_t key;
        bool place, value;
        std::string at;
        TaskId data;
    };
    virtual void deliver(ClientId to, News news) = 0;
    virtual void dropped(WorkerId worker) = 0;

    bool none_was_left = false; ///< at one time, of all workers that could come
    bool alone_for_long() const;
    std::optional<std::int64_t> alone_since_us; ///< the last worker has gone
    bool losing = false;                        ///< the event says that a copy cannot be had
    std::set<TaskId> in_one_report;             ///< an earlier row of it may stop a later one

private:
    Known &worker(WorkerId id);
    void check_input(const Known &to, const scheduler::Input &input, Call &source, Call &reader);
    void check_needs(WorkerId to, const Call &call);
    void check_cause(const Call &call, const proto::Failure &failure);
    Call &told(ClientId client, std::uint64_t key);
    std::unordered_map<FunctionId, std::string> pickled_;
};

} // namespace dtask::model

// SPDX-License-Identifier: Apache-2.0
//
// Worker: takes tasks from the scheduler, runs them in executors, or as the commands that
// they are (commands.h), and reports.
//
//   dialing ──found──▶ registered ──bye──▶ over, exit code 0
//      └──deadline──▶     └──connection lost──▶ over, exit code cluster_lost
//      over, no_scheduler
//
// A worker whose executors do not start tells the scheduler that it is unfit;
// the scheduler closes the connection and the worker is over, exit code unfit.
//
// Invariants:
//   - A call is in `queue_`, in flight at one executor or one of `commands_`, until it is reported,
//     given back or dropped: never two of these.
//   - Executors are `concurrency` many, or being replaced after a death. One
//     whose call waits for tasks of its own is blocked and does not count:
//     another is started for the calls in the queue. What is too much when the
//     wait is over runs no call, and is retired within a second or so.
//   - Reports of one turn leave in one frame (end_turn).
//
// When an executor dies the call that ran is reported as failed; calls that
// were only given ahead return to the head of the queue.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/spawn.h"
#include "lib/ev/loop.h"
#include "lib/proto/codec.h"
#include "runtime/client/dialer.h"
#include "runtime/worker/commands.h"
#include "runtime/worker/door.h"
#include "runtime/worker/executor.h"
#include "runtime/worker/memory.h"
#include "runtime/worker/nursery.h"
#include "runtime/worker/receipts.h"
#include "runtime/worker/sign.h"
#include "runtime/worker/values.h"
#include "runtime/worker/watch.h"

namespace dtask::worker {

struct Settings {
    proto::Register about;   ///< address is filled in once it is known
    SpawnSpec executor;      ///< how to start one
    Env commands = {};       ///< environment of commands, which wants nothing that is an executor's
    SpawnSpec nursery = {};  ///< how to start what forks them, in their environment; or no program
    Store::Place store = {}; ///< where values are kept, if any are
    std::vector<std::string> candidates;
    std::string door_host; ///< where to listen; empty: all addresses
    std::int64_t dial_timeout_ms = 0;
    std::int64_t silence_ms = 60'000; ///< of the scheduler, after which it is lost
    std::uint64_t first_slot = 1;     ///< number of its first slot in the step
    /// Executors are started when a function comes: the client runs commands, and there may
    /// be no interpreter.
    bool lazy = false;
    bool restarted = false; ///< a missing scheduler is then no surprise, and told by its launcher
    bool follow_address = false; ///< an interface was chosen: come again by the greeting's address
};

class Worker {
public:
    Worker(ev::Loop &loop, const proto::Token &token, Settings settings, Memory memory);
    ~Worker();

    /// Until the step ends; the exit code, or why it could not begin.
    Result<int> run();

private:
    struct Function {
        std::string name, pickled;
        double mean_us = -1; ///< running mean of its run times here; below 0 = not known yet
    };
    struct Slot {
        std::unique_ptr<Executor> executor;
        bool for_memory = false; ///< it was killed since others could not start beside it
        bool filling = false;    ///< it gets calls until it holds as many as it may
    };

    void dial(std::vector<std::string> candidates);
    void on_frame(proto::Frame frame);
    Result<void> handle(proto::Frame frame);
    Result<void> on_run(proto::Frame frame);
    void on_welcome(const proto::Welcome &welcome);
    void on_retract(const proto::Refs &refs);
    void on_kill(const proto::Refs &refs);
    void on_outcome(const Call &call, proto::RecordKind kind, const std::string &value,
                    std::uint64_t us);
    void on_executor_dead(std::size_t slot, int status);
    void start_executor(std::size_t slot);
    void on_blocked(std::size_t slot);
    void tell_blocked();
    std::size_t active() const;
    void staff();
    void retire_surplus();
    bool make_way();
    void on_child();
    void feed();
    std::size_t depth(const Function &function) const;
    void learn(std::uint64_t function, std::uint64_t us);
    Commands::Place command_place();
    std::uint64_t busy_executors() const;
    bool has_room(const Call &call) const;
    void on_command_ended(const Commands::Outcome &outcome);
    void end_commands();
    void drop_call(std::uint64_t task, std::uint64_t instance);
    void report(proto::Failure failure);
    void stat(proto::Stat stat);
    std::vector<Executor *> executors() const;
    void give_up(const std::string &why);
    void send_unfit();
    void end(int code);
    void end_turn_soon();
    void end_turn();

    ev::Loop &loop_;
    proto::Token token_;
    Settings settings_;
    Values values_;
    std::unordered_map<std::uint64_t, Function> functions_;
    std::deque<Call> queue_;
    std::optional<Commands> commands_;
    Receipts receipts_;
    bool client_ended_ = false;      ///< by itself: it has heard all that it wanted
    std::optional<Nursery> nursery_; ///< outlives the executors
    std::vector<Slot> slots_;
    std::vector<std::unique_ptr<Executor>> dead_; ///< freed at the end of the turn
    std::uint64_t blocked_ = 0;                   ///< as the scheduler was told
    unsigned failed_starts_ = 0;                  ///< in a row
    std::string last_start_;                      ///< how the last of them ended
    Sign sign_;
    proto::Done done_;
    bool turn_pending_ = false;
    std::optional<int> exit_code_;
    std::unique_ptr<Door> door_;
    std::unique_ptr<client::Dialer> dialer_, former_dialer_;
    Watch watch_;
    std::string unfit_; ///< why it gave up; empty: it has not
    ev::Timer report_;  ///< of commands that have ended
    bool report_pending_ = false;
    ev::Signal child_, terminate_, interrupt_;
};

/// `dtaskd worker`, started by the launcher.
int main(Env env);

} // namespace dtask::worker

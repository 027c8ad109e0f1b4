// SPDX-License-Identifier: Apache-2.0
//
// Executor: one process that runs functions, one at a time, in order.
//
//   starting ──ready──▶ serving ──process ends──▶ dead
//       └──process ends before it was ready────────▲
//
// One that is to be forked is starting, too, and has no pid before born().
//
// Calls may be given ahead (`in_flight`); the first of them is the one that
// runs. While that is blocked, since it waits for tasks of its own, the others
// can be taken back. A death is reported once both the process has been reaped and its
// last words have been read, so that a result written just before a crash
// counts. What else lives in its process group is killed then.
//
// Ownership: whoever destroys an Executor kills the process group. It must not
// be destroyed inside its callbacks.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>

#include <sys/types.h>

#include "lib/base/spawn.h"
#include "lib/ev/loop.h"
#include "lib/ev/stream.h"
#include "lib/proto/record.h"

namespace dtask::worker {

struct Call {
    std::uint64_t function = 0, task = 0, instance = 0;
    std::string args;
    std::vector<std::string> inputs = {}; ///< their values, in the order of the arguments
    bool dropped = false;                 ///< cancelled: its outcome interests nobody
    std::uint32_t timeout_ms = 0;         ///< that it may run; 0: any
    std::uint64_t held = 0;               ///< bytes of its inputs that lie in other workers' stores
    bool again = false; ///< killed at the limit once, where values had made it tight
};

class Executor {
public:
    struct Callbacks {
        std::function<void()> on_ready;
        /// `us`: its run time as the process says.
        std::function<void(Call call, proto::RecordKind kind, std::string value, std::uint64_t us)>
            on_outcome;
        /// The call that runs waits for tasks of its own, or no longer does.
        std::function<void()> on_blocked = [] {};
        /// `status` as of waitpid. in_flight() still holds what was not finished.
        std::function<void(int status)> on_dead;
    };

    static Result<std::unique_ptr<Executor>> start(ev::Loop &loop, SpawnSpec spec,
                                                   Callbacks callbacks);
    /// One that a process is still to be forked for: born() or stillborn() follows. Where
    /// it is not wanted any more before that, `unwanted` is called.
    static std::unique_ptr<Executor> expect(ev::Loop &loop, Fd socket, Callbacks callbacks,
                                            std::function<void()> unwanted);
    ~Executor();

    void born(pid_t pid);
    /// There is no process; `status` is what its maker's end, or ours, says of the reason, and
    /// `why` says it in words, where there are better ones.
    void stillborn(int status, std::string why = {});
    const std::string &why_stillborn() const { return why_; }

    pid_t pid() const { return pid_; } ///< 0: not born yet
    bool ready() const { return ready_; }
    bool dead() const { return dead_; }
    /// It was killed because the call that ran took too long.
    bool overdue() const { return overdue_; }
    /// Its call waits for tasks of its own: it is to get no other meanwhile.
    bool blocked() const { return blocked_; }
    bool retired() const { return retired_; }
    /// Ready, and nothing is known yet of its end.
    bool takes_calls() const { return ready_ && !blocked_ && !retired_ && !closed_ && !status_; }
    const std::deque<Call> &in_flight() const { return in_flight_; }
    /// Since when the first of them has run, by the clock; where there is one.
    std::int64_t running_since_us() const { return running_since_us_; }
    std::deque<Call> take_in_flight() { return std::exchange(in_flight_, {}); }

    /// Tells it where the scheduler is, once: its functions may be clients.
    void introduce(std::string_view scheduler);
    /// Sends the function first where the process does not have it yet.
    void call(Call call, std::string_view function);
    void forget(std::uint64_t function);
    /// Marks a call that was given ahead as of no interest; true where it is the running one.
    bool drop(std::uint64_t task, std::uint64_t instance);
    /// The calls that were given ahead of a blocked one: they will not run here.
    std::deque<Call> take_ahead();
    void kill();
    /// It is needed no more. Only while it has no call.
    void retire();

    /// waitpid gave this status for pid().
    void on_reaped(int status);

private:
    Executor(ev::Loop &loop, pid_t pid, Fd socket, Callbacks callbacks);
    void on_data();
    void on_record(const proto::RecordHead &head, std::string body);
    void die_if_over();
    void watch_first();

    Callbacks callbacks_;
    pid_t pid_;
    std::function<void()> unwanted_; ///< while it is not born
    bool doomed_ = false;            ///< killed before it was born
    bool ready_ = false, closed_ = false, dead_ = false, overdue_ = false;
    bool blocked_ = false, retired_ = false, introduced_ = false;
    std::string why_;
    std::optional<int> status_;
    std::deque<Call> in_flight_;
    std::int64_t running_since_us_ = 0;
    std::unordered_set<std::uint64_t> functions_; ///< that the process has
    ev::Timer deadline_;                          ///< of the call that runs
    ev::Timer last_words_;                        ///< how long to wait for the end of file
    ev::Stream stream_;
};

} // namespace dtask::worker

// SPDX-License-Identifier: Apache-2.0
//
// Launcher: the small init of one task. It starts what the task's role needs
// (by its Starter), forwards signals, restarts the worker (as Restarts says),
// and decides the task's exit code.
//
// Of the client's task:
//
//   starting ──enough workers──▶ running ──client ends──▶ ending ──▶ over
//       └──start-up time over, SIGTERM, scheduler lost──────▲
//                                   └──scheduler lost───────┘
//
// Of any other task: it serves until its scheduler and worker have ended.
//
// Exit code: the client's (128 + signal where one ended it) from the client's
// task and 0 from all others, so that Slurm's verdict is the client's; of
// sysexits where the cluster itself failed (lib/base/exit_codes.h).
//
// Invariant: when run() returns no process of this task is left, nor its
// scratch directory, nor the scheduler file where this task had the scheduler.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "lib/base/env.h"
#include "lib/ev/loop.h"
#include "lib/model/launch.h"
#include "lib/model/slots.h"
#include "lib/proto/codec.h"
#include "runtime/client/dialer.h"
#include "runtime/launch/crowding.h"
#include "runtime/launch/restarts.h"
#include "runtime/launch/starter.h"

namespace dtask::launch {

class Launcher {
public:
    /// `command` and `arguments`: the user's. `self`: path of this program.
    Launcher(ev::Loop &loop, const proto::Token &token, model::LaunchSpec spec, model::Role role,
             Env env, std::string self, std::string command, std::vector<std::string> arguments);
    ~Launcher();

    int run();

private:
    enum class Phase { starting, running, ending };

    // Starting
    Result<void> begin();
    void start_scheduler();
    void start_worker();
    void dial();
    void start_client(const proto::Info &info);
    void watch_crowding();

    // Events
    void on_frame(const proto::Frame &frame);
    void on_workers(const proto::WorkerCount &count);
    void on_info(const proto::Info &info);
    void on_start_timeout();
    void on_children();
    void on_scheduler_exit(int status);
    void on_worker_exit(int status);
    void on_client_exit(int status);
    void on_signal(int number);
    void on_stop();
    void on_cluster_lost(const std::string &why);

    // Ending
    void tell_unfit(const std::string &why);
    void wake_other_tasks();
    void end(int code);
    void over_if_alone();
    void kill_stragglers();

    ev::Loop &loop_;
    proto::Token token_;
    model::LaunchSpec spec_;
    model::Role role_;
    Starter starter_; ///< owns the directories
    Restarts restarts_;

    Phase phase_ = Phase::starting;
    int code_ = 0;
    pid_t scheduler_ = 0, worker_ = 0, client_ = 0; ///< 0: not running
    pid_t waker_ = 0;                   ///< scancel, for tasks that look for a scheduler
    std::optional<proto::Unfit> unfit_; ///< of the client's task: why it has no worker
    bool client_warned_ = false;        ///< SIGTERM was sent since the cluster was lost
    bool lingered_ = false;             ///< the scheduler was given more time to end
    bool interrupted_ = false;          ///< SIGINT has come: nobody may be left to tell
    bool terminated_ = false;           ///< SIGTERM has come: nothing is started any more
    bool info_asked_ = false;
    bool timed_out_ = false;
    std::unique_ptr<client::Dialer> dialer_; ///< to the scheduler
    std::string welcome_address_, dial_failure_;
    std::vector<std::unique_ptr<ev::Signal>> signals_;
    std::optional<Crowding> crowding_; ///< where client or scheduler share the worker's limit
    std::optional<ev::Ticker> crowding_look_;
    bool stopped_ = false; ///< it was told to end by `dtask stop`
    ev::Timer start_deadline_, worker_restart_, end_deadline_, stop_deadline_;
};

/// `dtaskd` as a task's launcher: the environment holds DTASK_LAUNCH.
int main(Env env, const std::string &self, std::vector<std::string> arguments);

} // namespace dtask::launch

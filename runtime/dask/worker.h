// SPDX-License-Identifier: Apache-2.0
//
// Worker of the `dask` engine: keeps the user's Dask worker of this task
// running, within its limits, as long as the step lasts.
//
//   loading, dialing ──both done──▶ starting ──it serves──▶ registered ──bye──▶ over, 0
//                                    ▲                          │
//                                    └─died, restarts left──────┤
//                                    └─left, is to come back────┤
//                                      left for good: idle ◀────┤
//                                      over, unfit ◀──none left─┘
//
// It speaks to our own scheduler, which brings the step up and down; tasks and
// data go between Dask's own processes. Python loads while the scheduler is
// looked for. A death is told in one line with worker, limit and peak, and to
// the scheduler, which makes Dask's KilledWorker say it (`died`).
//
// A Dask worker that leaves by itself is started again where Dask counts on it
// (`Client.restart`, a lost connection), which is no death and is not counted
// by --dtask-restarts, and stays away where it was sent away
// (`Client.retire_workers`); see python/dtask/_dask.py, `stays_away`.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/env.h"
#include "lib/ev/loop.h"
#include "lib/model/launch.h"
#include "lib/proto/codec.h"
#include "runtime/client/dialer.h"
#include "runtime/dask/process.h"
#include "runtime/worker/door.h"
#include "runtime/worker/memory.h"
#include "runtime/worker/usage.h"

namespace dtask::dask {

class Worker {
public:
    Worker(ev::Loop &loop, const proto::Token &token, const model::LaunchSpec &spec,
           proto::Register about, std::vector<std::string> candidates, std::string door_host,
           std::int64_t dial_timeout_ms, std::int64_t silence_ms, Env env, worker::Memory memory);
    ~Worker();

    /// Until the step ends; the exit code, or why it could not begin.
    Result<int> run();

private:
    void on_frame(const proto::Frame &frame);
    void start_process();
    void serve();
    void on_exit(int status);
    void restart();
    void stat();
    void watch_memory();
    void give_up(const std::string &why);
    void end(int code);
    Json setup() const;
    void send_unfit();

    ev::Loop &loop_;
    proto::Token token_;
    model::LaunchSpec spec_;
    proto::Register about_;
    std::vector<std::string> candidates_;
    std::string door_host_;
    std::int64_t dial_timeout_ms_, silence_ms_;
    Env env_;
    worker::Memory memory_;
    worker::Usage usage_;
    std::string scheduler_address_;
    unsigned restarts_ = 0; ///< after deaths
    unsigned in_a_row_ = 0; ///< starts without a second of service since the last stat
    bool greeted_ = false;  ///< Dask's scheduler serves
    bool registered_ = false;
    std::string unfit_; ///< why this task cannot serve; empty: it can
    std::optional<int> exit_code_;
    std::unique_ptr<worker::Door> door_;
    std::unique_ptr<client::Dialer> dialer_;
    std::unique_ptr<Process> process_, dead_;
    ev::Signal child_, terminate_, interrupt_;
    ev::Timer restart_;
    ev::Ticker stat_;
    std::optional<ev::Ticker> watch_;
};

} // namespace dtask::dask

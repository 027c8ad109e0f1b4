// SPDX-License-Identifier: Apache-2.0
//
// Worker of the `dask` engine: keeps the user's Dask worker of this task
// running, within its limits, as long as the step lasts.
//
//   dialing ──found──▶ starting ──it serves──▶ registered ──bye──▶ over, 0
//      └──deadline──▶    ▲  └──────dies──────────▶ │
//      over, cluster_lost└──dies, restarts left────┘──none left──▶ over, usage
//
// It speaks to our own scheduler, which brings the step up and down; tasks and
// data go between Dask's own processes. A death for memory is told in one line
// with worker, limit and peak: Dask itself would say KilledWorker at best.
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

namespace dtask::dask {

class Worker {
public:
    Worker(ev::Loop &loop, const proto::Token &token, const model::LaunchSpec &spec,
           proto::Register about, std::vector<std::string> candidates, std::string door_host,
           std::int64_t dial_timeout_ms, Env env, worker::Memory memory);
    ~Worker();

    /// Until the step ends; the exit code, or why it could not begin.
    Result<int> run();

private:
    void on_frame(const proto::Frame &frame);
    void start_process();
    void on_exit(int status);
    void stat();
    void watch_memory();
    void give_up(const std::string &why);
    void end(int code);
    std::string setup() const;

    ev::Loop &loop_;
    proto::Token token_;
    model::LaunchSpec spec_;
    proto::Register about_;
    std::vector<std::string> candidates_;
    std::string door_host_;
    std::int64_t dial_timeout_ms_;
    Env env_;
    worker::Memory memory_;
    std::string scheduler_address_;
    unsigned restarts_ = 0;
    bool registered_ = false;
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

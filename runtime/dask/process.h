// SPDX-License-Identifier: Apache-2.0
//
// Process: the user's own Dask, a scheduler or a worker, run by our small
// Python program dtask._dask and held by a socket on its descriptor 3:
//
//   to us     one line of JSON once it serves: {"address", "dashboard"}
//   from us   "q": what happens from now on is the end, be quiet; and end of
//             file: exit
//
// on_exit comes once, after the process has been reaped. Whoever destroys a
// Process kills its process group. Not to be destroyed inside its callbacks.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <sys/types.h>

#include "lib/base/spawn.h"
#include "lib/ev/loop.h"
#include "lib/ev/stream.h"

namespace dtask::dask {

/// Where a Dask process serves, as "tls://10.0.0.1:4711"; `dashboard` may be empty.
struct Serving {
    std::string address, dashboard;
};

class Process {
public:
    struct Callbacks {
        std::function<void(const Serving &)> on_serving;
        std::function<void(int status)> on_exit; ///< as of waitpid
    };

    static Result<std::unique_ptr<Process>> start(ev::Loop &loop, SpawnSpec spec,
                                                  Callbacks callbacks);
    ~Process();

    pid_t pid() const { return pid_; }
    bool serving() const { return serving_; }
    /// Tells it that the end has come: it logs nothing any more.
    void quiet();
    void kill();
    /// waitpid gave this status for pid().
    void on_reaped(int status);

private:
    Process(ev::Loop &loop, pid_t pid, Fd socket, Callbacks callbacks);
    void on_data();

    Callbacks callbacks_;
    pid_t pid_;
    bool serving_ = false, reaped_ = false;
    ev::Stream stream_;
};

/// How to start dtask._dask as `role` ("scheduler" or "worker"); `env` is the
/// task's, with the package on its PYTHONPATH and the interpreter in
/// DTASK_PYTHON; `setup`, JSON, goes in DTASK_DASK.
Result<SpawnSpec> dask_command(const std::string &role, const Env &env, const std::string &setup);

} // namespace dtask::dask

// SPDX-License-Identifier: Apache-2.0
//
// Process: the user's own Dask, a scheduler or a worker, run by our small
// Python program dtask._dask and held by a socket on its descriptor 3:
//
//   from us   lines of JSON: {"serve": …} what to do, once; {"died": {"name",
//             "address", "how"}} to a scheduler, of a worker; {"end": 1} what
//             happens from now on is the end, be quiet. End of file: exit
//   to us     one line of JSON: {"address", "dashboard"} once it serves, or
//             {"failed"} why it cannot
//
// Python and Dask are loaded before "serve" is read: a process is started early
// and told late. It ends with
//
//   0            it was asked to leave for good: by Client.shutdown, retire_workers, …
//   come_back    it left, and Dask counts on whoever started it to start it again
//   cannot_load  this Python has no Dask that it could run; why() says more
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
#include "lib/json/json.h"

namespace dtask::dask {

constexpr int come_back = 75, cannot_load = 78; // as in python/dtask/_dask.py

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
    /// Where it serves for Dask; empty: it does not yet.
    const std::string &address() const { return address_; }
    /// What it said of its failure; empty: nothing.
    const std::string &why() const { return why_; }
    /// Sends one line of what is said above.
    void tell(const Json &what);
    void kill();
    /// waitpid gave this status for pid().
    void on_reaped(int status);

private:
    Process(ev::Loop &loop, pid_t pid, Fd socket, Callbacks callbacks);
    void on_data();

    Callbacks callbacks_;
    pid_t pid_;
    bool reaped_ = false;
    std::string address_, why_;
    ev::Stream stream_;
};

/// How to start dtask._dask as `role` ("scheduler" or "worker"); `env` is the
/// task's, with the package on its PYTHONPATH, the interpreter in DTASK_PYTHON
/// and, for temporary files, DTASK_SCRATCH.
Result<SpawnSpec> dask_command(const std::string &role, const Env &env);

} // namespace dtask::dask

// SPDX-License-Identifier: Apache-2.0
//
// Starter: how each process of a task is started: by which program, in which environment, on which
// CPUs, and what ends it should the launcher die. It owns the task's directories, which scheduler
// and worker are told of. The processes are the launcher's: this starts and forgets them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sched.h>
#include <sys/types.h>

#include "lib/base/env.h"
#include "lib/base/result.h"
#include "lib/model/launch.h"
#include "lib/model/slots.h"
#include "lib/proto/auth.h"
#include "runtime/launch/cpus.h"
#include "runtime/launch/directories.h"
#include "runtime/launch/environment.h"

namespace dtask::launch {

class Starter {
public:
    /// `spec` outlives this; the rest as Launcher has it.
    Starter(const model::LaunchSpec &spec, const model::Role &role, Env env, std::string self,
            std::string command, std::vector<std::string> arguments);

    /// First of all: makes what they will find, directories and Dask's credentials. Where it fails
    /// scheduler and client can be started all the same, but no worker.
    Result<void> prepare(const proto::Token &token);
    void remove_directories() { directories_ = Directories(); }

    Result<pid_t> start_scheduler() const;
    /// `starts`: how often it was started before.
    Result<pid_t> start_worker(unsigned starts) const;

    struct NotStarted {
        std::string why;
        int code; ///< exit code of a shell for it
    };
    tl::expected<pid_t, NotStarted> start_client(const ClusterFacts &facts) const;

    /// scancel, which sends SIGINT to every task of the step; fails where there is none.
    Result<pid_t> start_waker() const;

    /// The task's.
    const Env &env() const { return env_; }

private:
    Result<pid_t> start_service(const char *what, Env env, const std::optional<cpu_set_t> &cpus,
                                int death_signal) const;
    Result<void> prepare_dask(const proto::Token &token);

    const model::LaunchSpec &spec_;
    model::Role role_;
    Env env_;
    std::string self_, command_;
    std::vector<std::string> arguments_;
    std::string python_dir_;
    CpuSplit cpus_;
    Directories directories_;
};

} // namespace dtask::launch

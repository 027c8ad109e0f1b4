// SPDX-License-Identifier: Apache-2.0
//
// Crowding: on cgroup v2 a task that has a worker and the client or the scheduler is one group
// with one limit, at which the kernel slows down all that grow in it, almost to a standstill.
// The worker ends executors that fill it (runtime/worker/memory.h). Where most of it is not
// theirs nobody would ever go on: then the launcher ends the client or, where that has more, the
// scheduler. Only SIGKILL reaches a process that is being slowed down. Bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <sys/types.h>

#include "lib/cgroup/cgroup.h"
#include "runtime/worker/processes.h"

namespace dtask::launch {

class Crowding {
public:
    /// `group`: the task's, of version 2, with a memory limit.
    explicit Crowding(cgroup::WorkerGroup group);

    /// Between two looks.
    static constexpr std::int64_t look_ms = 500;

    /// The launcher's children; 0: not running.
    struct Task {
        pid_t client = 0, scheduler = 0;
    };
    struct Verdict {
        worker::Pids pids; ///< to kill: client or scheduler, and all below it
        std::string why;   ///< for the user, in one line
    };
    /// Call each look_ms. A verdict comes when the task has been clearly over its limit for some
    /// looks one after the other; more where what lies in shared memory may yet be moved to disk.
    std::optional<Verdict> look(const Task &task);

private:
    cgroup::WorkerGroup group_;
    std::uint64_t limit_;
    int looks_over_ = 0;
};

} // namespace dtask::launch

// SPDX-License-Identifier: Apache-2.0
//
// Watch: what a worker does by the clock about its memory: tells how much is
// used of it and of the CPUs, moves values to disk where that is too much, and, where no cgroup
// does it, kills the executor that goes over the limit.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "lib/ev/loop.h"
#include "runtime/worker/executor.h"
#include "runtime/worker/memory.h"
#include "runtime/worker/usage.h"
#include "runtime/worker/values.h"

namespace dtask::worker {

class Watch {
public:
    struct Host {
        std::function<std::vector<Executor *>()> executors; ///< those that live
        std::function<Pids()> commands = [] { return Pids(); };
        /// False where the process is no command.
        std::function<bool(pid_t)> kill_command = [](pid_t) { return false; };
        std::function<void(proto::Stat stat)> on_stat; ///< once a second
    };

    /// `values` must outlive it.
    Watch(ev::Loop &loop, Memory memory, Values &values, Host host);

    Memory &memory() { return memory_; }
    Usage &usage() { return usage_; }
    /// Begins to move values to disk where memory runs short.
    void make_room();

    /// Has on_stat called with what is so now.
    void stat();

private:
    void look();
    Pids pids_of(const std::vector<Executor *> &executors) const;
    SharedMemory shared(const std::vector<Executor *> &executors) const;

    Memory memory_;
    Usage usage_;
    Values &values_;
    Host host_;
    ev::Ticker stat_;
    std::optional<ev::Ticker> look_;
};

} // namespace dtask::worker

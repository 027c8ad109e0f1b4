// SPDX-License-Identifier: Apache-2.0
//
// Nursery: where a worker's executors come from. A process that has loaded what
// they need (python/dtask/_nursery.py, which says what goes over its socket)
// forks one in a millisecond or two, and what was loaded is in memory once.
//
//   none ──executor()──▶ loading ──▶ forking ──process ends──▶ none
//                           └──exit code unfit──▶ unfit: executors are spawned
//
// This process adopts orphans, so that an executor, whose forking parent ends at
// once, becomes its child: waitpid tells of its end as of one that was spawned.
// All that any process of a function leaves behind becomes its child, too.
//
// An executor's pid is 0 until it is born. One whose nursery ends before is dead
// with the nursery's status; the next executor() starts another nursery. Once it
// has forked one, a nursery that takes too long for another is killed: something
// has stopped it.
//
// Ownership: it kills its process; executors that it has made may not outlive it
// while they are not born.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include <sys/types.h>

#include "lib/base/spawn.h"
#include "lib/ev/loop.h"
#include "lib/ev/stream.h"
#include "runtime/worker/executor.h"

namespace dtask::worker {

class Nursery {
public:
    /// `executor`: how to spawn one. `nursery`: how to start the process that forks
    /// them; without a program each executor is spawned.
    Nursery(ev::Loop &loop, SpawnSpec executor, SpawnSpec nursery,
            std::int64_t patience_ms = 30'000);
    ~Nursery();

    Result<std::unique_ptr<Executor>> executor(Executor::Callbacks callbacks);

    /// 0: there is none.
    pid_t pid() const { return pid_; }

    /// waitpid gave this status for a child that is no executor which was born. False
    /// where it is none of ours either.
    bool on_reaped(pid_t pid, int status);

private:
    struct Unborn {
        Executor *executor;
        Fd socket; ///< the process' end
    };

    Result<void> begin();
    bool ask(std::uint32_t number, int descriptor);
    void on_data();
    void on_over(int status);

    ev::Loop &loop_;
    SpawnSpec executor_, nursery_;
    std::int64_t patience_ms_;
    bool unfit_ = false, loaded_ = false;
    pid_t pid_ = 0;
    int control_ = -1; ///< the stream's descriptor
    std::unique_ptr<ev::Stream> stream_, former_;
    ev::Timer late_; ///< while a loaded one is to fork
    std::uint32_t last_ = 0;
    std::map<std::uint32_t, Unborn> unborn_;
    std::map<pid_t, int> ended_; ///< children that nobody knows, while some are not born
};

} // namespace dtask::worker

// SPDX-License-Identifier: Apache-2.0
//
// Usage: what a worker tells once a second of the memory and the CPU time of all that it runs:
// by its group's counters where it has one for itself, else by /proc and by what the kernel says
// of those that have ended. CPU time never falls; of a process that lost its parent it is missing.
#pragma once

#include <cstdint>

#include <sys/resource.h>

#include "lib/proto/message.h"
#include "runtime/worker/memory.h"

namespace dtask::worker {

class Usage {
public:
    /// One of those that it runs has ended: what wait4 says of it.
    void add(const rusage &ended);
    /// `memory_now`: bytes.
    proto::Stat stat(const Memory &memory, std::uint64_t memory_now, const Pids &running);

private:
    std::uint64_t ended_us_ = 0, cpu_us_ = 0, peak_ = 0;
};

} // namespace dtask::worker

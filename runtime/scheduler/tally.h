// SPDX-License-Identifier: Apache-2.0
//
// Tally: what each task's worker has used in all, those that were lost or restarted included,
// for the report at the end. One entry a Slurm task.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lib/base/ids.h"
#include "lib/proto/message.h"

namespace dtask::scheduler {

class Tally {
public:
    /// Bytes; limit 0: none. CPU time in µs. sampled: no cgroup has its peak, which was looked at
    /// once a second.
    struct Use {
        std::string worker;
        bool sampled = false;
        std::uint64_t task = 0, nthreads = 0, concurrency = 1, limit = 0, peak = 0, cpu_us = 0;
    };

    void on_stat(WorkerId id, const proto::Register &about, const proto::Stat &stat);
    /// A function has come that is a command.
    void on_command() { commands_ = true; }

    bool commands() const { return commands_; }
    std::vector<Use> uses() const; ///< by task

private:
    struct Entry {
        Use use;
        WorkerId last;
        std::uint64_t before_us = 0; ///< of those before the last one
    };
    std::map<std::uint64_t, Entry> entries_;
    bool commands_ = false;
};

} // namespace dtask::scheduler

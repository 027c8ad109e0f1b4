// SPDX-License-Identifier: Apache-2.0
//
// Spawner: a process that starts commands in the worker's place, as the worker's children. It has
// joined the cgroups and has the OOM score that they are to have, once and for all: for each of
// them to do so takes as long as to start it. It is forked from the worker with the first
// command, shares its descriptors and nothing else, and dies with it.
//
//   worker ──descriptors' numbers, texts──▶ spawner ──clone, CLONE_PARENT──▶ command
//      ◀───────────────pid, or why not──────────┘
//
// The worker waits for the answer, as it would for a child that has yet to execute.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "lib/base/fd.h"
#include "lib/base/quick.h"

namespace dtask::worker {

class Spawner {
public:
    /// What all commands have: `join_fds` and `oom_score_adj` as a QuickSpec's.
    Spawner(std::vector<int> join_fds, std::string oom_score_adj)
        : join_fds_(std::move(join_fds)), oom_score_adj_(std::move(oom_score_adj)) {}
    Spawner(const Spawner &) = delete;
    Spawner &operator=(const Spawner &) = delete;
    ~Spawner();

    /// `spec` joins what is besides. Where nothing is to be joined, there is no such process, or
    /// the texts are too long for a message, the worker starts the command itself.
    tl::expected<pid_t, QuickFailure> spawn(const QuickSpec &spec);
    /// Somebody has killed it, and the worker reaped it. False where it is another process.
    bool on_reaped(pid_t pid);

private:
    bool begin();
    [[noreturn]] void serve(int socket, pid_t worker);
    bool answered() const;
    void forget();
    tl::expected<pid_t, QuickFailure> spawn_alone(QuickSpec spec) const;

    std::vector<int> join_fds_;
    std::string oom_score_adj_;
    pid_t pid_ = 0;
    Fd ours_, theirs_;
    unsigned deaths_ = 0; ///< after a few it is done without
};

} // namespace dtask::worker

// SPDX-License-Identifier: Apache-2.0
//
// Quick: starts a program as posix_spawn does, without a copy of this process: the child
// runs in our memory, on a stack of its own, until it executes the program or fails, and we
// wait for that. What posix_spawn cannot set is set as well. A program that is started
// thousands of times is prepared once.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "lib/base/result.h"

namespace dtask {

/// Descriptors that are -1 are as inherited.
struct QuickSpec {
    const char *program = nullptr; ///< a path; a file without a known format is the shell's
    char *const *argv = nullptr, *const *env = nullptr; ///< as execve wants them
    const char *directory = nullptr;                    ///< null: this one
    int input = -1, output = -1, errors = -1;
    std::vector<int> join_fds; ///< cgroup.procs files to write "0" to
    std::string oom_score_adj; ///< empty: as inherited
    /// 0: it is our child; else our parent, whose child it is to be, and who then reaps it even
    /// where no program came of it.
    pid_t parent = 0;
};

/// Why no program came of it: an errno, and whether it was the directory.
struct QuickFailure {
    int error = 0;
    bool directory = false;
    pid_t pid = 0; ///< of a child of another parent, which was born and failed
};

/// The leader of a process group of its own, which is killed when this thread ends.
tl::expected<pid_t, QuickFailure> spawn_quickly(const QuickSpec &spec);

} // namespace dtask

// SPDX-License-Identifier: Apache-2.0
//
// Scratch: a private directory of a task on its node, 0700, removed at the end:
// on disk for a worker's files, in shared memory for the values that it keeps.
//
// A launcher that is killed cannot remove its own. So each holds a lock on its
// directory as long as it lives, and whoever makes or removes a scratch
// directory also removes those of the same user that nobody holds any more.
#pragma once

#include <string>

#include "lib/base/env.h"
#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace dtask::launch {

/// Where scratch directories are made: as chosen, else the task's TMPDIR, else
/// /tmp. A TMPDIR that this node does not have, or that the user may not write
/// to, came with the environment of srun and was chosen for another machine.
std::string scratch_base(const std::string &chosen, const Env &task);

class Scratch {
public:
    Scratch() = default;
    /// Makes `base`/dtask-CLUSTER-RANK-XXXXXX.
    static Result<Scratch> make(const std::string &base, const std::string &cluster, unsigned rank);
    Scratch(Scratch &&other) noexcept { swap(other); }
    Scratch &operator=(Scratch other) noexcept {
        swap(other);
        return *this;
    }
    ~Scratch();

    /// Empty where none was made.
    const std::string &path() const { return path_; }

private:
    void swap(Scratch &other) noexcept {
        std::swap(path_, other.path_);
        std::swap(lock_, other.lock_);
    }

    std::string path_;
    Fd lock_;
};

} // namespace dtask::launch

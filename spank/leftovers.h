// SPDX-License-Identifier: Apache-2.0
//
// Leftovers: the private directories (runtime/launch/scratch.h) of launchers that were killed, and
// so could not remove them: in shared memory, where they keep the node's memory, and in scratch.
//
// Invariants. As root no path is looked at: a child process becomes the user for good before it
// does, so that links lead it where the user could have gone himself. It execs nothing, has no
// descriptor of slurmstepd's, cannot be traced, and is killed where it takes too long. A directory
// that a live launcher holds, by the lock on its marker, stays.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

namespace dtask::spank {

/// What launchers of one step on this node may have left.
struct Leftovers {
    uid_t uid = static_cast<uid_t>(-1);
    gid_t gid = static_cast<gid_t>(-1);
    std::uint32_t job = 0, step = 0;
    std::vector<std::uint32_t> ranks; ///< of launchers that were killed
    std::vector<std::string> bases;   ///< directories in which they had theirs
};

/// Removes them, as the user that this process is.
void remove_leftovers(const Leftovers &what);

/// The same as the user of `what`, from root's process; waits `most_ms` at most.
void remove_leftovers_as_user(const Leftovers &what, long most_ms);

} // namespace dtask::spank

// SPDX-License-Identifier: Apache-2.0
//
// Processes: what a worker sees in /proc of the processes that its executors
// started, and of the memory that they hold. Bytes.
//
// A family is a process and all below it. One whose parent has ended belongs to
// whoever adopts orphans: it is a stray, found by its process group, else by the
// variable DTASK_WORKER that every process of a function inherits.
#pragma once

#include <cstdint>
#include <unordered_set>
#include <vector>

#include <sys/types.h>

namespace dtask::worker {

using Pids = std::vector<pid_t>;

/// The children of all threads of `pid`; none where it has gone.
Pids children_of(pid_t pid);

/// `root` first, then all below it.
Pids family_of(pid_t root);

/// What it has for itself, at most: what it shares with others counts whole. Of
/// its pages of files and shared memory as many as `mappable` has bytes are taken
/// to be values. 0 where it has gone.
std::uint64_t resident(pid_t pid, std::uint64_t mappable);

/// The same, of what it shares its part only; so a sum has every page once. It
/// takes the kernel some milliseconds a gigabyte.
std::uint64_t proportional(pid_t pid, std::uint64_t mappable);

/// CPU time, in µs, of it and of those below it that it has waited for. 0 where it has gone.
std::uint64_t cpu_time(pid_t pid);

/// Is it of a function: of those that the kernel takes first, where memory runs out?
bool is_first_to_die(pid_t pid);

/// Has it been killed, and is only not gone yet? A large one takes a while to give its memory back.
bool is_ending(pid_t pid);

/// Strays: processes of functions that have lost their parent.
class Strays {
public:
    explicit Strays(pid_t adopter) : adopter_(adopter) {}
    /// `nursery`: the process that forks executors, which is none of theirs; 0: there is none.
    Pids find(const Pids &executors, pid_t nursery = 0);

private:
    pid_t adopter_;                    ///< of orphans
    std::unordered_set<pid_t> others_; ///< looked at, and not of a function
};

} // namespace dtask::worker

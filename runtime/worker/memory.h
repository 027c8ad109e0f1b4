// SPDX-License-Identifier: Apache-2.0
//
// Memory: what holds the worker's executors to their limit, and what can be
// read of it. With a cgroup of their own (v1) the kernel kills the executor
// that goes over. On v2 the group is the whole task's: the kernel slows it down at
// the limit, and `watch`, which reads the group's own counters, has the worker kill
// before the kernel would. Without a group (not made by root, no Slurm) the resident
// sets of the executors' families are looked at. Values in shared memory count for
// the worker that keeps them, once, and for no executor that has them mapped.
// Bytes; 0 = no limit.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <sys/types.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/cgroup/cgroup.h"
#include "runtime/worker/processes.h"

namespace dtask::worker {

/// The kernel counts in batches of pages: one that got within so many parts of the limit was at it.
constexpr std::uint64_t limit_tolerance = 32;

/// Values that lie in memory beside the executors' own. Bytes.
struct SharedMemory {
    std::uint64_t mappable = 0; ///< of all that an executor may have mapped
    std::uint64_t stored = 0;   ///< of this worker's store
    std::uint64_t fetched = 0;  ///< of these, what no executor has written
    std::uint64_t fixed = 0;    ///< of these, what cannot be moved to disk
};

class Memory {
public:
    /// `adopter` adopts what loses its parent. `shared`: the task has the scheduler or
    /// the client, too. On v2 the group is the whole task's then, and `limit` what the
    /// executors may have of it.
    Memory(std::optional<cgroup::WorkerGroup> group, std::uint64_t limit,
           pid_t adopter = ::getppid(), bool shared = false);

    std::uint64_t limit() const { return limit_; }
    /// The process that executors are forked from, which share what it has loaded; 0: none.
    void set_nursery(pid_t pid) { nursery_ = pid; }
    /// cgroup.procs descriptors that an executor joins when it starts.
    std::vector<int> join_fds() const;
    /// Groups below its own for commands with limits of theirs; none where there can be none.
    std::vector<cgroup::CommandGroup> open_command_groups() const;
    /// Must the worker itself look after the limit?
    bool needs_watch() const;
    /// Does the kernel kill at the limit, which what executors store counts against?
    bool counts_values() const;
    /// Is it looked after by the group's own counters?
    bool watches_group() const;

    /// Of all executors and the values that are kept: the group's usage, or the
    /// sum of resident sets. What several have mapped counts once.
    std::uint64_t usage(const std::vector<pid_t> &executors, const SharedMemory &shared = {}) const;
    /// The same without what the kernel takes back when it needs it, as the files
    /// that a group's processes have read: the sum of resident sets anyway.
    std::uint64_t needed(const std::vector<pid_t> &executors,
                         const SharedMemory &shared = {}) const;
    /// The executor to kill, if the limit is passed by what only a death makes
    /// free: the one whose family has most of its own. Values that can be moved are.
    /// Where a process that a function has left behind has more, that one.
    std::optional<pid_t> over_limit(const std::vector<pid_t> &executors,
                                    const SharedMemory &shared = {});

    /// Was `executor`, which died of SIGKILL, killed for its memory? Each kill
    /// is attributed once.
    bool was_memory_kill(pid_t executor);
    /// Call once a second or so. A kill that is older took a child of the
    /// function and no executor: none that dies later is to be blamed for it.
    void forget_old_kills();
    /// The last that was: did the kernel take it though the worker was below its limit? Then a
    /// group above was full, the step's on the node.
    bool was_below_limit() const { return below_limit_; }
    /// What was used when an executor was last killed by the watch; else the most that the group
    /// has had, on v1 since the kill before.
    std::uint64_t peak() const;
    /// The most that the group has had, where it is the executors' alone; else 0.
    std::uint64_t group_peak() const;
    /// CPU time of all that has run in the group, where it is the executors' alone, in µs.
    std::optional<std::uint64_t> group_cpu_us() const;

private:
    struct Kill {
        pid_t executor;
        std::uint64_t sum; ///< when it was decided
    };
    struct Family {
        pid_t root;
        Pids pids;
        bool executor;
        std::uint64_t bytes = 0;
    };

    std::optional<pid_t> over_group_limit(std::vector<Family> &families, std::uint64_t movable);
    pid_t kill(const Family &family, std::uint64_t sum);
    std::uint64_t measure(std::vector<Family> &families, std::uint64_t mappable,
                          std::uint64_t (*of)(pid_t, std::uint64_t)) const;

    std::optional<cgroup::WorkerGroup> group_;
    std::uint64_t limit_ = 0;
    std::uint64_t group_limit_ = 0; ///< v2: of the whole task
    bool shared_ = false;
    bool whole_task_ = false;        ///< the group has the scheduler or the client, too
    std::uint64_t kills_seen_ = 0;   ///< by the kernel, attributed or too old
    std::uint64_t kills_before_ = 0; ///< all, when forget_old_kills() was last called
    bool below_limit_ = false;
    std::vector<Kill> killed_;               ///< by the watch, and not known yet to be dead
    std::optional<std::uint64_t> last_peak_; ///< of the last that was known to be
    Strays strays_;
    pid_t nursery_ = 0;
    SteadyClock clock_;
    std::int64_t next_exact_us_ = 0; ///< when to measure exactly again
    /// Until then the group may still have what the last one that was killed had.
    std::int64_t settled_us_ = 0;
};

} // namespace dtask::worker

// SPDX-License-Identifier: Apache-2.0
//
// Cgroup: the kernel's control groups as far as a worker's limits need them,
// v1 and v2 behind one interface. Two sides use it:
//
//   root's side   slurmstepd, between a task's fork and its exec: `Driver`
//                 makes and removes the group in which a worker's executors run
//   user's side   launcher and worker: `WorkerGroup` finds that group, moves
//                 processes in, reads limit, usage, peak and OOM kills back
//
// v1: for memory, a child "dtask" of the task's own Slurm cgroup task_N; where
// the controller has no task_N, a tree of our own, dtask/job_J/step_S/task_RANK
// below the controller's root. The same for cpu. Only cgroup.procs is the user's, and the
// peak, to set it back. Below it there may be groups for commands, "command_0" and so on, whose
// limits are the user's too: whatever he writes there, that of the worker's group binds.
// v2: the limits are set on task_N itself, for Slurm sees only processes that
// are directly in it; there is nothing to make, join or remove. The memory limit
// is cut where it would leave no room below a limit of the groups above: at theirs
// the kernel kills, and Slurm's verdict is that of a step out of memory.
//
// Safety on root's side: each directory is opened from the one above it with
// O_NOFOLLOW, the root's and the controller's file system must be the
// kernel's own, the paths come from the kernel (/proc) and from checked
// numbers and names, never from the user. Sizes are bytes, times µs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace dtask::cgroup {

/// One line of /proc/PID/cgroup. v2: hierarchy 0, no controllers.
struct Member {
    std::uint32_t hierarchy = 0;
    std::vector<std::string> controllers;
    std::string path; ///< begins with '/'
};
using Membership = std::vector<Member>;
Result<Membership> parse_membership(std::string_view text);

/// One cgroup mount of /proc/PID/mountinfo; other mounts are skipped.
struct Mount {
    std::string root;  ///< the cgroup that is mounted, "/" as a rule
    std::string point; ///< where
    bool v2 = false;
    std::vector<std::string> controllers; ///< v1 only
};
Result<std::vector<Mount>> parse_mounts(std::string_view mountinfo);

/// `path` where it ends in a component task_N (N digits only), or in our child
/// of one without that child; else nothing: task_special and the like are
/// shared by tasks.
std::optional<std::string> own_task_path(std::string_view path);

/// Names a worker's group among the steps of one cluster. The rank is the
/// step's, not the node's, so several slurmd may share a kernel.
struct GroupName {
    std::uint32_t job = 0;
    std::uint32_t step = 0;
    std::uint32_t rank = 0;
};

/// 0 = no limit.
struct Limits {
    std::uint64_t memory = 0;       ///< v1 memory.limit_in_bytes, v2 memory.high
    std::uint64_t cpu_quota_us = 0; ///< per 100,000 µs
    std::uint32_t tasks = 1;        ///< that share the groups above
    /// Groups for commands below the worker's, where there can be any: v1 only.
    std::uint32_t commands = 0;
};
/// More are never made: the kernel has 65,535 memory groups for all.
constexpr std::uint32_t most_command_groups = 128;

/// What the file system looks like. A unit test gives a plain directory: it
/// turns the check of the file system's type off and plays the kernel, which
/// fills a new group with files and lets a group go in spite of them.
struct Layout {
    std::string root = "/sys/fs/cgroup";
    std::vector<Mount> mounts;
    bool check_magic = true;
    void (*born)(int directory) = nullptr;
    void (*dying)(int directory) = nullptr;
};
/// The real one: `root` and this process' mountinfo.
Result<Layout> system_layout(const std::string &root = "/sys/fs/cgroup");
/// The groups that process `pid` is in; 0 = this one.
Result<Membership> membership_of(pid_t pid);

class Driver {
public:
    virtual ~Driver() = default;
    virtual int version() const = 0; ///< 1 or 2

    /// Takes the directories of the step and of the task at `where` from `uid`,
    /// to whom Slurm gives them on v1: he could make groups of his own there and
    /// move his processes out of the worker's into them. Before make_worker_group,
    /// and for tasks without a worker too.
    virtual Result<void> seal(const Membership &where, uid_t uid) = 0;
    /// Sets the limits for the task that is at `where`; `uid` may then join.
    /// Parts that need no limit are not made. On failure nothing is left.
    virtual Result<void> make_worker_group(const Membership &where, const GroupName &name,
                                           const Limits &limits, uid_t uid) = 0;
    /// Removes what make_worker_group made; nothing there is no error. A group
    /// that still has processes is one (EBUSY), and may be tried again.
    virtual Result<void> remove(const Membership &where, const GroupName &name) = 0;
    /// Removes what steps of a job that has ended, of user `uid`, have left of
    /// such groups: their slurmstepd was killed. One that still has processes
    /// stays, which is a failure, and may be tried again.
    virtual Result<void> sweep(std::uint32_t job, uid_t uid) = 0;
};

/// v1 where the memory controller is on a v1 mount below the root, else v2.
Result<std::unique_ptr<Driver>> make_driver(Layout layout);

/// A group for one command at a time, whose limit is the user's to set. v1 only.
class CommandGroup {
public:
    /// Fails where what an earlier command has left behind, in shared memory as a rule, needs more.
    /// The peak begins anew. Each command's is set, for one may have set another.
    Result<void> set_limit(std::uint64_t bytes) const;
    int procs_fd() const { return procs_.get(); }
    Result<std::uint64_t> peak() const;      ///< since the limit was set
    Result<std::uint64_t> oom_kills() const; ///< since the group was made

private:
    friend class WorkerGroup;
    Fd directory_, procs_;
};

/// A worker's group as its user sees it.
class WorkerGroup {
public:
    /// From this process' own membership. Nothing where no limit was set.
    static Result<std::optional<WorkerGroup>> find(const GroupName &name,
                                                   const std::string &root = "/sys/fs/cgroup");
    /// The same from given text, for tests.
    static Result<std::optional<WorkerGroup>> find(const Layout &layout, const Membership &self,
                                                   const GroupName &name);

    int version() const { return version_; }
    /// v1: executors must join; v2: they are in it from birth.
    bool needs_join() const { return version_ == 1; }
    bool has_memory() const { return static_cast<bool>(memory_); }
    bool has_cpu() const { return static_cast<bool>(cpu_); }

    /// Descriptors of the cgroup.procs files, for a child between fork and
    /// exec: write "0" to each. Opened O_CLOEXEC; -1 where there is none.
    struct ProcsFds {
        int memory = -1;
        int cpu = -1;
    };
    ProcsFds procs_fds() const { return {memory_procs_.get(), cpu_procs_.get()}; }

    Result<std::uint64_t> memory_limit() const; ///< 0 = none
    Result<std::uint64_t> memory_usage() const;
    /// Of the usage what the kernel cannot take back: all but cached files. v2 only.
    Result<std::uint64_t> memory_needed() const;
    /// Of the usage what lies in shared memory, files of /dev/shm among it. v2 only.
    Result<std::uint64_t> memory_shared() const;
    Result<std::uint64_t> memory_peak() const;
    /// The peak is the usage of now. v1 only, and where root has given it to the user.
    Result<void> reset_memory_peak() const;
    Result<std::uint64_t> oom_kills() const;    ///< since the group was made
    Result<std::uint64_t> cpu_usage_us() const; ///< of all that has run there

    /// The groups for commands below the worker's; none where root has made none.
    std::vector<CommandGroup> open_command_groups() const;

private:
    int version_ = 1;
    Fd memory_, cpu_; // directories
    Fd memory_procs_, cpu_procs_;
};

} // namespace dtask::cgroup

// SPDX-License-Identifier: Apache-2.0
//
// Remote: the plugin in slurmstepd. It acts only in ordinary steps whose
// environment bears a handover from srun's side; all else is left alone.
//
//   on_task_forked   root, the task is blocked before its exec: sets its worker's limits
//   on_task_init     the user, in the task's own process: environment and launcher
//   on_task_exit,    root: remove what on_task_forked made
//   on_exit             and, as the user, what launchers that were killed have left
//
// Nothing that fails here may reach Slurm as a failure of the node: failures
// before on_task_init are kept, or printed, and only the task itself fails.
// What the user can write (the environment) is read strictly; memory is
// clamped to what the step's credential says.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/env.h"
#include "lib/base/result.h"
#include "lib/cgroup/cgroup.h"
#include "lib/model/launch.h"
#include "lib/model/limits.h"
#include "lib/model/site.h"
#include "lib/model/slots.h"
#include "spank/api.h"
#include "spank/handover.h"
#include "spank/leftovers.h"

namespace dtask::spank {

/// What Slurm says of one task and its step.
struct TaskFacts {
    std::uint32_t job = 0, step = 0, rank = 0, ntasks = 0;
    std::uint32_t local_rank = 0, local_ntasks = 1;
    std::uint32_t cpus_per_task = 1;
    std::uint64_t step_mb = 0; ///< of the step on this node; 0 = unlimited
};

/// Which variables a task of a cluster must not see; the launcher makes the
/// client's own.
bool is_ours(std::string_view variable);

/// The limits that go into a cgroup. On v2 the group is the whole task's: one that
/// has scheduler or client too gets all of the task's share.
cgroup::Limits group_limits(int cgroup_version, const model::Role &role,
                            const model::WorkerLimits &limits, std::uint32_t cpus_per_task);

class Remote {
public:
    /// `driver`: nullptr for the machine's own; tests give theirs.
    Remote(std::span<const char *const> words, std::string_view default_launcher,
           std::unique_ptr<cgroup::Driver> driver = nullptr);

    Result<void> on_task_forked(spank_t spank);
    Result<void> on_task_init(spank_t spank);
    void on_task_exit(spank_t spank);
    void on_exit();

private:
    struct Step {
        Env env;
        Handover handover;
        TaskFacts facts;
        model::Role role;
        model::WorkerLimits limits;
        bool runs_commands = false; ///< its client is `dtask map`
        std::uint32_t workers = 0;  ///< of the whole step
    };
    struct Made {
        cgroup::Membership where;
        cgroup::GroupName name;
    };

    /// Nothing where the step is no cluster.
    Result<std::optional<Step>> read_step(spank_t spank, pid_t task) const;
    void expect_leftovers(const Step &step, spank_t spank);
    /// The line of syslog=on: root's own words and numbers only.
    static void note_use(const Step &step, spank_t spank);
    void remove_group(std::uint32_t rank);
    Result<void> find_driver();
    Result<void> set_limits(const Step &step, pid_t task, uid_t uid);
    Result<model::LaunchSpec> launch_spec(const Step &step) const;
    Result<void> put_launcher(spank_t spank, model::LaunchSpec &spec) const;

    Result<model::Site> site_;
    std::unique_ptr<cgroup::Driver> driver_;
    std::vector<Made> made_;
    Leftovers left_; ///< ranks: of those tasks that a signal has ended
};

} // namespace dtask::spank

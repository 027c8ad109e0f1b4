// SPDX-License-Identifier: Apache-2.0
//
// Limits: whether the kernel holds what this task's worker was given. Root's
// side of the plugin makes the cgroup, or fails to; this is what the user's
// side finds.
#pragma once

#include <optional>
#include <string>

#include "lib/base/result.h"
#include "lib/cgroup/cgroup.h"
#include "lib/model/launch.h"
#include "lib/model/slots.h"

namespace dtask::launch {

/// The group of this task's worker, if it has one.
Result<std::optional<cgroup::WorkerGroup>> worker_group(const model::LaunchSpec &spec);

/// The worker's limits that should be held by a cgroup and are not: "", "memory",
/// "cpus" or "memory,cpus".
std::string without_group(const model::LaunchSpec &spec, const model::Role &role,
                          const std::optional<cgroup::WorkerGroup> &group);

/// Fails where the user has asked by value for what nobody holds here. Without
/// Slurm the worker's watch is what was asked for.
Result<void> check_limits(const model::LaunchSpec &spec, const model::Role &role);

} // namespace dtask::launch

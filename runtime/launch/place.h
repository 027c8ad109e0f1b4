// SPDX-License-Identifier: Apache-2.0
//
// Place: where the step's scheduler is, as seen from one of its tasks.
//
// Everybody reaches it by the address of its node that Slurm knows, on one of
// the step's candidate ports; that works before anything is agreed. Where an
// interface was chosen, the scheduler's greeting names its address there, and
// workers come again by that way.
#pragma once

#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/model/launch.h"

namespace dtask::launch {

/// Numeric host of the scheduler's node: what the plugin found out, else the
/// node's name by the resolver, else by `scontrol show node`.
Result<std::string> scheduler_host(const model::LaunchSpec &spec);

/// `host:port` candidates in the order to try them.
Result<std::vector<std::string>> scheduler_candidates(const model::LaunchSpec &spec);

/// The host that the scheduler, in its own task, gives to others.
Result<std::string> advertised_host(const model::LaunchSpec &spec);

/// "job.step", the name of the cluster.
std::string cluster_id(const model::LaunchSpec &spec);

} // namespace dtask::launch

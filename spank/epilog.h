// SPDX-License-Identifier: Apache-2.0
//
// The plugin after a job's last step on this node, as root, in a process that
// slurmd starts for it: removes the cgroups of steps whose slurmstepd was
// killed and so could not remove them itself (Remote::on_exit).
#pragma once

#include <span>
#include <string_view>

#include "lib/base/result.h"
#include "spank/api.h"

namespace dtask::spank {

/// Waits a second at most for processes that are still in them.
Result<void> on_job_ended(spank_t spank, std::span<const char *const> words,
                          std::string_view default_launcher);

} // namespace dtask::spank

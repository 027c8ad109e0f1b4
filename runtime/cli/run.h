// SPDX-License-Identifier: Apache-2.0
//
// `dtask run`: the cluster of `srun --dtask` on this machine, without Slurm.
// It starts one launcher a task, as slurmstepd would, and waits for them all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/env.h"
#include "lib/base/result.h"
#include "lib/model/options.h"

namespace dtask::cli {

struct RunRequest {
    std::uint32_t ntasks = 1, cpus_per_task = 1;
    model::Options options;
    std::vector<std::string> command;
};

/// The exit code: the highest of the tasks', which is the client's unless the
/// cluster itself failed.
Result<int> run(const RunRequest &request, const Env &env);

} // namespace dtask::cli

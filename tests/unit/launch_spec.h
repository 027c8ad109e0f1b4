// SPDX-License-Identifier: Apache-2.0
//
// A launch specification as a task of a step has it, for tests to change.
#pragma once

#include <string>

#include "lib/model/launch.h"

namespace dtask::test {

inline const std::string token_text(64, 'a');

inline model::LaunchSpec spec() {
    model::LaunchSpec s;
    s.token = token_text;
    s.job = 12;
    s.step = 3;
    s.rank = 1;
    s.ntasks = s.local_ntasks = 4;
    s.cpus_per_task = s.worker_cpus = 4;
    s.node = "n2";
    s.scheduler_node = "n1";
    s.scheduler_host = "10.0.0.1";
    s.submit_dir = "/home/u";
    return s;
}

} // namespace dtask::test

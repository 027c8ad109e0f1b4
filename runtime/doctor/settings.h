// SPDX-License-Identifier: Apache-2.0
//
// Settings: the part of the rules that reads slurm.conf and cgroup.conf, as
// scontrol show config prints them.
#pragma once

#include <vector>

#include "runtime/doctor/rules.h"

namespace dtask::doctor {

void judge_settings(const Facts &facts, std::vector<Finding> &out);

} // namespace dtask::doctor

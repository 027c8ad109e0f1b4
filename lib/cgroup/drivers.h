// SPDX-License-Identifier: Apache-2.0
//
// The two drivers, private to lib/cgroup; everybody else calls make_driver().
#pragma once

#include <memory>

#include "lib/cgroup/cgroup.h"
#include "lib/cgroup/dir.h"

namespace dtask::cgroup {

constexpr const char *v1_peak = "memory.max_usage_in_bytes";
constexpr const char *v1_limit = "memory.limit_in_bytes";
constexpr const char *v1_limit_with_swap = "memory.memsw.limit_in_bytes";
constexpr std::string_view command_prefix = "command_"; ///< and a number: a group for commands

std::unique_ptr<Driver> make_v1(Layout layout);
std::unique_ptr<Driver> make_v2(Layout layout);

} // namespace dtask::cgroup

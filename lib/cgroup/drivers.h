// SPDX-License-Identifier: Apache-2.0
//
// The two drivers, private to lib/cgroup; everybody else calls make_driver().
#pragma once

#include <memory>

#include "lib/cgroup/cgroup.h"
#include "lib/cgroup/dir.h"

namespace dtask::cgroup {

constexpr const char *v1_peak = "memory.max_usage_in_bytes";

std::unique_ptr<Driver> make_v1(Layout layout);
std::unique_ptr<Driver> make_v2(Layout layout);

} // namespace dtask::cgroup

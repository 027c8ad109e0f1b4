// SPDX-License-Identifier: Apache-2.0
//
// /proc/PID/mountinfo.
#include "lib/cgroup/cgroup.h"
#include "tests/fuzz/target.h"

using namespace dtask::cgroup;

DTASK_FUZZ_TARGET(mounts, bytes) {
    auto mounts = parse_mounts(bytes);
    if (!mounts) return;
    for (const auto &mount : *mounts) {
        promise(mount.root.starts_with('/') && mount.point.starts_with('/'));
        promise(mount.point.find('\0') == std::string::npos);
        promise(!mount.v2 || mount.controllers.empty());
    }
}

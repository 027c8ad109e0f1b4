// SPDX-License-Identifier: Apache-2.0
//
// /proc/PID/cgroup, as root's side and the user's side read it.
#include "lib/cgroup/cgroup.h"
#include "tests/fuzz/target.h"

using namespace dtask::cgroup;

DTASK_FUZZ_TARGET(membership, bytes) {
    auto members = parse_membership(bytes);
    if (!members) return;
    for (const auto &member : *members) {
        promise(member.path.starts_with('/'));
        if (auto task = own_task_path(member.path)) promise(member.path.starts_with(*task));
    }
}

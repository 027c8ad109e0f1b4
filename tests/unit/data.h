// SPDX-License-Identifier: Apache-2.0
//
// What the tests of large values share.
#pragma once

#include "tests/unit/stage.h"

namespace dtask::test {

/// The stage is over, and nothing is left of any value.
inline void over(Stage &s) {
    s.comm.take_functions();
    s.comm.take_counts();
    ck_assert(s.core.tasks.empty());
    for (const auto &[id, worker] : s.core.workers) ck_assert(worker.holds.empty());
    s.over();
}

/// As a run names an input that is in `store`.
inline std::string path(TaskId data, const char *store) {
    return std::string("@") + store + "/" + std::to_string(data.value);
}

} // namespace dtask::test

// SPDX-License-Identifier: Apache-2.0
//
// The invariants that core.h states, as a check of a whole core.
#pragma once

#include "runtime/scheduler/core.h"
#include "tests/unit/unit.h"

namespace dtask::test {

// Where much is checked: ck_assert writes to a file each time, passed or not.
#define holds(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) abort_test("does not hold: %s", #condition);                             \
    } while (0)
#define holds_because(condition, ...)                                                              \
    do {                                                                                           \
        if (!(condition)) abort_test(__VA_ARGS__);                                                 \
    } while (0)

/// The end of the test where an invariant of core.h does not hold.
void check_invariants(const scheduler::Core &core);

} // namespace dtask::test

// SPDX-License-Identifier: Apache-2.0
//
// Pair: two ends of a socket pair.
#pragma once

#include <sys/socket.h>

#include "lib/base/fd.h"
#include "tests/unit/unit.h"

namespace dtask::test {

struct Pair {
    Pair() {
        int ends[2];
        ck_assert_int_eq(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        one.reset(ends[0]);
        two.reset(ends[1]);
    }
    Fd one, two;
};

} // namespace dtask::test

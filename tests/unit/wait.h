// SPDX-License-Identifier: Apache-2.0
//
// Waiting in a test: the loop runs until what is waited for has come true. The
// wait is bounded, and says in vain what it waited for.
#pragma once

#include <functional>

#include <check.h>

#include "lib/ev/loop.h"

namespace dtask::test {

constexpr std::int64_t patience_ms = 3'000;

inline void wait_for(ev::Loop &loop, const char *what, const std::function<bool()> &come,
                     std::int64_t at_most_ms = patience_ms) {
    bool over = false;
    ev::Ticker look(loop, 1, [&] {
        if (come()) loop.stop();
    });
    ev::Timer bound(loop, [&] {
        over = true;
        loop.stop();
    });
    bound.set(at_most_ms);
    loop.run();
    if (over && !come()) ck_abort_msg("waited %d ms in vain for %s", int(at_most_ms), what);
}

/// Runs what is due now, for `ms`: 0 is one turn of the loop.
inline void settle(ev::Loop &loop, std::int64_t ms = 5) {
    ev::Timer last(loop, [&] { loop.stop(); });
    last.set(ms);
    loop.run();
}

} // namespace dtask::test

// SPDX-License-Identifier: Apache-2.0
//
// ManualClock: time stands still until a test moves it. Microseconds.
#pragma once

#include "lib/base/clock.h"

namespace dtask::fakes {

class ManualClock final : public Clock {
public:
    std::int64_t now_us() const override { return now_; }
    void advance(std::int64_t us) { now_ += us; }

private:
    std::int64_t now_ = 1'000'000;
};

} // namespace dtask::fakes

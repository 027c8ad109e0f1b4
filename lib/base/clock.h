// SPDX-License-Identifier: Apache-2.0
//
// Clock: monotonic time in microseconds, behind an interface so that the
// scheduler's logic can be driven by a test's own time.
#pragma once

#include <chrono>
#include <cstdint>

namespace dtask {

class Clock {
public:
    virtual ~Clock() = default;
    virtual std::int64_t now_us() const = 0;
};

class SteadyClock final : public Clock {
public:
    std::int64_t now_us() const override {
        return std::chrono::duration_cast<std::chrono::microseconds>(
                   std::chrono::steady_clock::now().time_since_epoch())
            .count();
    }
};

} // namespace dtask

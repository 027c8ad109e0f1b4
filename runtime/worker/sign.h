// SPDX-License-Identifier: Apache-2.0
//
// Sign: whether what a worker could tell of itself is worth a message. One that works tells each
// second; one that idles, and has told that it does, only now and then that it lives: of thousands
// each message counts. Times by the clock, in µs.
#pragma once

#include <cstdint>

#include "lib/proto/message.h"

namespace dtask::worker {

class Sign {
public:
    static constexpr std::int64_t longest_quiet_ms = 5'000;

    /// `silence_ms`: what the worker bears of the scheduler, which bears half of it.
    explicit Sign(std::int64_t silence_ms);

    /// If so, it is told.
    bool is_news(const proto::Stat &stat, std::int64_t now_us);

private:
    std::int64_t quiet_us_;
    proto::Stat told_; ///< the last one,
    std::int64_t told_us_ = 0;
    bool repeated_ = false; ///< which was much as the one before
};

} // namespace dtask::worker

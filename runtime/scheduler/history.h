// SPDX-License-Identifier: Apache-2.0
//
// History: what the scheduler keeps of what has been: the latest failures, and how many tasks
// had ended at the latest ticks. All of it is bounded. Of a task that has ended well nothing is
// kept. Times in µs of the clock.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "lib/base/ids.h"
#include "lib/proto/message.h"

namespace dtask::scheduler {

/// A task that has failed, by itself: those that needed its value are not kept.
struct Failed {
    std::string name;
    ClientId client;
    std::uint64_t key = 0;
    proto::FailureKind kind = proto::FailureKind::crashed;
    std::string message, worker, node;
    std::string detail; ///< the end of a traceback, or of what a command wrote to its errors
    std::uint64_t tries = 0;
    std::int64_t at_us = 0;
};

class History {
public:
    static constexpr std::size_t most_failures = 128, most_message = 512, most_detail = 4096;
    static constexpr std::size_t most_ticks = 11; ///< which come each second

    /// These cut what is too long, and forget the oldest.
    void add(Failed failed);
    void add_retry(Failed failed); ///< one that was tried again
    void tick(std::int64_t now_us, std::uint64_t done);

    const std::deque<Failed> &failures() const { return failures_; } ///< the latest last
    const std::deque<Failed> &retries() const { return retries_; }
    std::uint64_t forgotten() const { return forgotten_; } ///< failures
    struct Recent {
        std::int64_t us = 0;
        std::uint64_t done = 0;
    };
    /// The span since the oldest tick that is kept, and how many tasks ended well in it.
    Recent recent(std::int64_t now_us, std::uint64_t done) const;

private:
    struct Tick {
        std::int64_t at_us;
        std::uint64_t done;
    };
    void add(std::deque<Failed> &list, Failed failed);

    std::deque<Failed> failures_, retries_;
    std::uint64_t forgotten_ = 0;
    std::deque<Tick> ticks_;
};

/// The failure in words, and what is known beside: of a raised exception or a command that
/// failed they stand in the payload.
Failed describe(std::string name, bool command, const proto::Failure &failure);

} // namespace dtask::scheduler

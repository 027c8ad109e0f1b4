// SPDX-License-Identifier: Apache-2.0
//
// Report: what the scheduler is told of calls that have ended, as pure functions.
// What an executor says goes into no message unchecked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/proto/message.h"
#include "runtime/worker/executor.h"

namespace dtask::worker {

/// Adds a call that has ended well, or raised. stored: the bytes of its value
/// where that stays in the store, else 0.
void add_outcome(proto::Done &done, const Call &call, std::uint64_t us, bool raised,
                 std::string_view value, std::uint64_t stored = 0);

/// `size` as the executor tells it.
proto::Failure too_large(const Call &call, std::string_view size);
/// `why` as the executor tells it.
proto::Failure missing(const Call &call, std::string_view why);
/// It was told to be in the store and is not.
proto::Failure not_stored(const Call &call, const std::string &why);

/// It took longer than it may, and its executor was killed.
proto::Failure overdue(const Call &call);

/// It had more memory than it asked for, and was killed. Bytes.
proto::Failure over_own_limit(const Call &call, std::uint64_t limit, std::uint64_t peak);

/// Of a worker's memory, where an executor was killed for it. Bytes.
struct MemoryKill {
    std::uint64_t limit = 0, peak = 0;
    bool below_limit = false; ///< what was used up was the step's on the node
};
/// The executor that ran it died, with this status of waitpid.
proto::Failure died(const Call &call, int status, const std::optional<MemoryKill> &memory);

} // namespace dtask::worker

// SPDX-License-Identifier: Apache-2.0
//
// Record: one message between a worker and an executor (doc/protocol.md §5): a
// head of fixed size and a body. The executor runs the user's code, so what
// comes from it is checked like any input.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace dtask::proto {

/// The version of this protocol, and the variable by which an executor learns its worker's: one
/// that speaks another ends at once with exit_code::other_version.
constexpr std::string_view executor_protocol = "1";
constexpr std::string_view executor_protocol_variable = "DTASK_EXECUTOR_PROTOCOL";

enum class RecordKind : std::uint8_t {
    function = 1,
    call = 2,
    forget = 3,
    ready = 4,
    result = 5,
    error = 6,
    too_large = 7,
    input = 8,    ///< to an executor: the value of the next input of the call that follows
    stored = 9,   ///< the value is in the worker's store; body: its size in decimal digits
    missing = 10, ///< an input could not be opened; body: why
    blocked = 11, ///< the call that runs waits for tasks of its own
    unblocked = 12,
    cluster = 13,    ///< to an executor: where the scheduler is, "host:port"
    void_ahead = 14, ///< to an executor: calls sent since the one that runs are void
};

struct RecordHead {
    RecordKind kind = RecordKind::ready;
    std::uint64_t function = 0; ///< from an executor: the run time of the call in µs
    std::uint64_t task = 0;
    std::uint64_t length = 0; ///< of the body
};

constexpr std::size_t record_head_size = 32;

std::string encode_record_head(const RecordHead &head);
/// Refuses kinds that an executor does not send and lengths over the limits.
Result<RecordHead> decode_record_head(std::string_view bytes);

} // namespace dtask::proto

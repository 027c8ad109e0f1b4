// SPDX-License-Identifier: Apache-2.0
//
// Frame: one message as it crosses a connection (doc/protocol.md §2): a JSON
// header and bytes. Lengths are checked before anything is allocated for them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/json/json.h"

namespace dtask::proto {

constexpr std::size_t max_header = 16u << 20, max_payload = 256u << 20;
/// The largest pickled value or argument list of one task.
constexpr std::size_t max_value = 64u << 20;
/// A batch is sent once its payload reaches this, so that frames stay far below the maximum.
constexpr std::size_t batch_payload = 4u << 20;

struct Frame {
    Json header = Json::object();
    std::string payload;

    std::string type() const { return header.string_or("t", ""); }
};

/// A frame of type `type` to be filled in.
Frame make_frame(const char *type);

/// The two lengths and the header as bytes; the payload follows them.
std::string encode_head(const Frame &frame);

struct Lengths {
    std::size_t header, payload;
};
constexpr std::size_t lengths_size = 8;
/// Reads the first lengths_size bytes of a frame.
Result<Lengths> decode_lengths(std::string_view bytes);
Result<Json> decode_header(std::string_view bytes);

/// Cuts `payload` into pieces of the lengths given, which must add up to it.
Result<std::vector<std::string_view>> slices(std::string_view payload,
                                             const std::vector<std::uint64_t> &lengths);

} // namespace dtask::proto

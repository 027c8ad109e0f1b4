// SPDX-License-Identifier: Apache-2.0
//
// Frames of the fixtures, and of a few words.
#pragma once

#include "lib/proto/frame.h"
#include "tests/unit/fixtures.h"
#include "tests/unit/unit.h"

namespace dtask::test {

/// A whole frame of bytes, or why it is none.
inline Result<proto::Frame> read_frame(std::string_view bytes) {
    auto lengths = proto::decode_lengths(bytes);
    if (!lengths) return fail_from(std::move(lengths));
    ck_assert_uint_eq(bytes.size(), proto::lengths_size + lengths->header + lengths->payload);
    auto header = proto::decode_header(bytes.substr(proto::lengths_size, lengths->header));
    if (!header) return fail_from(std::move(header));
    return proto::Frame{*header, std::string(bytes.substr(proto::lengths_size + lengths->header))};
}

/// That of a fixture.
inline proto::Frame frame(const std::string &file) {
    return must(read_frame(fixture(file + ".frame")));
}

inline proto::Frame frame_of(std::string_view header, std::string payload = {}) {
    return {must(Json::parse(header)), std::move(payload)};
}

} // namespace dtask::test

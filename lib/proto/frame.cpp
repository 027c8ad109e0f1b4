// SPDX-License-Identifier: Apache-2.0
#include "lib/proto/frame.h"

namespace dtask::proto {

namespace {

void append_u32(std::string &bytes, std::size_t n) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(n >> shift & 0xff);
}

std::size_t read_u32(std::string_view bytes) {
    std::size_t n = 0;
    for (int i = 3; i >= 0; i--) n = n << 8 | static_cast<unsigned char>(bytes[std::size_t(i)]);
    return n;
}

} // namespace

Frame make_frame(const char *type) {
    Frame frame;
    frame.header.set("t", type);
    return frame;
}

std::string encode_head(const Frame &frame) {
    std::string header = frame.header.compact();
    std::string bytes;
    bytes.reserve(lengths_size + header.size());
    append_u32(bytes, header.size());
    append_u32(bytes, frame.payload.size());
    bytes += header;
    return bytes;
}

Result<Lengths> decode_lengths(std::string_view bytes) {
    if (bytes.size() < lengths_size) return fail("a frame's lengths are cut short");
    Lengths lengths{read_u32(bytes), read_u32(bytes.substr(4))};
    if (lengths.header > max_header || lengths.payload > max_payload)
        return fail("a frame of " + std::to_string(lengths.header) + " + " +
                    std::to_string(lengths.payload) + " bytes is over the limit");
    return lengths;
}

Result<Json> decode_header(std::string_view bytes) {
    auto header = Json::parse(bytes);
    if (!header) return fail_from(std::move(header), "a frame's header");
    if (header->string_or("t", "").empty()) return fail("a frame's header has no type \"t\"");
    return header;
}

Result<std::vector<std::string_view>> slices(std::string_view payload,
                                             const std::vector<std::uint64_t> &lengths) {
    std::vector<std::string_view> parts;
    parts.reserve(lengths.size());
    for (auto length : lengths) {
        if (length > payload.size()) return fail("\"len\" adds up to more than the payload");
        parts.push_back(payload.substr(0, length));
        payload.remove_prefix(length);
    }
    if (!payload.empty()) return fail("\"len\" adds up to less than the payload");
    return parts;
}

} // namespace dtask::proto

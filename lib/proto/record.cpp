// SPDX-License-Identifier: Apache-2.0
#include "lib/proto/record.h"

#include "lib/proto/frame.h"

namespace dtask::proto {

namespace {

// Room for a pickled error around a large exception.
constexpr std::uint64_t max_body = max_value + (1 << 20);

void append_u64(std::string &bytes, std::uint64_t n) {
    for (int shift = 0; shift < 64; shift += 8) bytes += static_cast<char>(n >> shift & 0xff);
}

std::uint64_t read_u64(std::string_view bytes) {
    std::uint64_t n = 0;
    for (std::size_t i = 8; i-- > 0;) n = n << 8 | static_cast<unsigned char>(bytes[i]);
    return n;
}

} // namespace

std::string encode_record_head(const RecordHead &head) {
    std::string bytes(1, static_cast<char>(head.kind));
    bytes.reserve(record_head_size);
    bytes.append(7, '\0');
    append_u64(bytes, head.function);
    append_u64(bytes, head.task);
    append_u64(bytes, head.length);
    return bytes;
}

Result<RecordHead> decode_record_head(std::string_view bytes) {
    if (bytes.size() < record_head_size) return fail("a record's head is cut short");
    auto kind = static_cast<unsigned char>(bytes[0]);
    if (kind < static_cast<unsigned>(RecordKind::ready) ||
        kind == static_cast<unsigned>(RecordKind::input) ||
        kind > static_cast<unsigned>(RecordKind::unblocked))
        return fail("a record of kind " + std::to_string(kind));
    RecordHead head{static_cast<RecordKind>(kind), read_u64(bytes.substr(8)),
                    read_u64(bytes.substr(16)), read_u64(bytes.substr(24))};
    if (head.length > max_body)
        return fail("a record of " + std::to_string(head.length) + " bytes");
    return head;
}

} // namespace dtask::proto

// SPDX-License-Identifier: Apache-2.0
//
// Digest: what tells texts apart for good, as the same in Python's hashlib.
#pragma once

#include <string>
#include <string_view>

namespace dtask::proto {

constexpr std::size_t digest_size = 16;

/// BLAKE2b of digest_size bytes.
std::string digest(std::string_view text);

/// SHA-256 in base64, as in a Content-Security-Policy.
std::string sha256_base64(std::string_view text);

} // namespace dtask::proto

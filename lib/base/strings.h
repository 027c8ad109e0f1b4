// SPDX-License-Identifier: Apache-2.0
//
// Strict small parsers and formatters. A number is the whole of its text, in
// decimal, without sign, blank or leading '+': "8x", "" and " 8" are refused.
// Sizes are in bytes and, as in Slurm, binary: 1K = 1024.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dtask {

std::vector<std::string_view> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);
/// With the letters A to Z in lower case.
std::string lower(std::string_view text);

/// The number, or nothing where the text is not one or it is above `max`.
std::optional<std::uint64_t> parse_uint(std::string_view text, std::uint64_t max = UINT64_MAX);

/// "500M" → 524288000. A suffix K, M, G or T (either case, an optional "B" or
/// "iB" after it) is required unless `bare_unit` is not 0, which then is the
/// unit of a number without one. Overflow is refused.
std::optional<std::uint64_t> parse_size(std::string_view text, std::uint64_t bare_unit = 0);

/// 209715200 → "200M"; one decimal where it is not whole, as "1.5G".
std::string format_size(std::uint64_t bytes);

std::string to_hex(std::string_view bytes);
/// The bytes, or nothing where the text is not an even number of hex digits.
std::optional<std::string> from_hex(std::string_view hex);

/// The first name of a Slurm host list: "n[3-5,9],m1" → "n3". Nothing where
/// the brackets do not match or the name is empty.
std::optional<std::string> first_host(std::string_view hostlist);

} // namespace dtask

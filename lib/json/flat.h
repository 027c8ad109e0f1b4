// SPDX-License-Identifier: Apache-2.0
//
// Flat: JSON objects as the hot messages have them, read and written without a
// tree. Their members are numbers, short plain strings and columns (arrays of
// numbers ≥ 0); of a member of another kind only the extent is found.
//
// The scanner is not a second parser: what it does not take is left to the real
// one, and what it takes means the same there (tests/unit/test_json.cpp, and
// tests/fuzz/frame.cpp compares both).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dtask::flat {

using Column = std::vector<std::uint64_t>;
/// A value of another kind, as it stands in the text.
struct Raw {
    std::string_view text;
};
struct Member {
    std::string_view name; ///< of printable ASCII, as the strings that are taken
    std::variant<std::int64_t, std::string_view, Column, Raw> value;
};

/// The members of the object that `text` is, in their order, no name twice. Nothing
/// where it is none, or one that is for the real parser. Views are of `text`.
std::optional<std::vector<Member>> scan(std::string_view text);

/// Whether JSON has the string as it is, between quotes.
bool plain(std::string_view text);

void append(std::string &text, std::int64_t number);
void append(std::string &text, const Column &column);

} // namespace dtask::flat

// SPDX-License-Identifier: Apache-2.0
#include "lib/model/pattern.h"

#include <algorithm>
#include <optional>

namespace dtask::model {

namespace {

std::string padded(std::uint32_t n, std::size_t width) {
    std::string digits = std::to_string(n);
    return digits.size() < width ? std::string(width - digits.size(), '0') + digits : digits;
}

std::optional<std::string> replacement(char letter, std::size_t width, const PatternValues &v) {
    switch (letter) {
    case 'j': return padded(v.job, width);
    case 's': return padded(v.step, width);
    case 't': return padded(v.rank, width);
    case 'J': return std::to_string(v.job) + "." + std::to_string(v.step);
    case 'N': return v.node;
    case 'u': return v.user;
    case '%': return "%";
    default: return {};
    }
}

} // namespace

std::string expand(std::string_view pattern, const PatternValues &values) {
    constexpr std::size_t widest = 10;
    std::string out;
    for (std::size_t i = 0; i < pattern.size();) {
        if (pattern[i] != '%') {
            out += pattern[i++];
            continue;
        }
        std::size_t end = i + 1, width = 0;
        for (; end < pattern.size() && pattern[end] >= '0' && pattern[end] <= '9'; end++)
            width = std::min(widest, width * 10 + static_cast<std::size_t>(pattern[end] - '0'));
        auto with = end < pattern.size() ? replacement(pattern[end], width, values) : std::nullopt;
        if (with) {
            out += *with;
            i = end + 1;
        } else {
            out += pattern[i++];
        }
    }
    return out;
}

} // namespace dtask::model

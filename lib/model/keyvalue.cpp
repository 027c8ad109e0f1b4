// SPDX-License-Identifier: Apache-2.0
#include "lib/model/keyvalue.h"

#include <set>

#include "lib/base/strings.h"

namespace dtask::model {

std::string escape(std::string_view value) {
    std::string text;
    text.reserve(value.size());
    for (char c : value) {
        auto byte = static_cast<unsigned char>(c);
        if (c == '%' || byte < 0x20 || byte == 0x7f)
            text.append("%").append(to_hex({&c, 1}));
        else
            text += c;
    }
    return text;
}

Result<std::string> unescape(std::string_view text) {
    std::string value;
    value.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); i++) {
        if (text[i] == '\0') return fail("a NUL");
        if (text[i] != '%') {
            value += text[i];
            continue;
        }
        auto byte = i + 3 <= text.size() ? from_hex(text.substr(i + 1, 2)) : std::nullopt;
        if (!byte || (*byte)[0] == '\0') return fail("a bad %XX escape");
        value += *byte;
        i += 2;
    }
    return value;
}

std::string write_pairs(const KeyValues &pairs) {
    std::string text;
    for (const auto &[key, value] : pairs)
        text.append(key).append("=").append(escape(value)).append("\n");
    return text;
}

Result<KeyValues> read_pairs(std::string_view text) {
    KeyValues pairs;
    std::set<std::string_view> seen;
    if (text.ends_with('\n')) text.remove_suffix(1);
    if (text.empty()) return pairs;
    std::size_t number = 0;
    for (auto line : split(text, '\n')) {
        auto where = "line " + std::to_string(++number);
        auto equals = line.find('=');
        if (equals == std::string_view::npos || equals == 0) return fail(where + ": not key=value");
        auto key = line.substr(0, equals);
        if (key.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789") != key.npos)
            return fail(where + ": not a key");
        if (!seen.insert(key).second) return fail(where + ": a key stands twice");
        auto value = unescape(line.substr(equals + 1));
        if (!value) return fail_from(std::move(value), where);
        pairs.emplace_back(key, std::move(*value));
    }
    return pairs;
}

} // namespace dtask::model

// SPDX-License-Identifier: Apache-2.0
#include "lib/base/strings.h"

#include <array>
#include <charconv>
#include <cstdio>

namespace dtask {

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    for (;;) {
        auto end = text.find(separator);
        parts.push_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + 1);
    }
}

std::string_view trim(std::string_view text) {
    constexpr std::string_view blank = " \t\r\n";
    auto begin = text.find_first_not_of(blank);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

std::string lower(std::string_view text) {
    std::string all(text);
    for (char &c : all)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return all;
}

std::optional<std::uint64_t> parse_uint(std::string_view text, std::uint64_t max) {
    std::uint64_t value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value > max) return {};
    return value;
}

std::optional<std::uint64_t> parse_size(std::string_view text, std::uint64_t bare_unit) {
    auto digits = text.find_first_not_of("0123456789");
    auto number = parse_uint(text.substr(0, digits));
    if (!number) return {};

    std::uint64_t unit = bare_unit;
    if (digits != std::string_view::npos) {
        constexpr std::string_view letters = "KMGT";
        auto suffix = text.substr(digits);
        auto power = letters.find(static_cast<char>(suffix[0] & ~0x20));
        auto tail = suffix.substr(1);
        if (power == std::string_view::npos) return {};
        if (!tail.empty() && tail != "B" && tail != "iB" && tail != "b") return {};
        unit = std::uint64_t{1} << (10 * (power + 1));
    }
    if (unit == 0 || *number > UINT64_MAX / unit) return {};
    return *number * unit;
}

std::string format_size(std::uint64_t bytes) {
    constexpr std::array units{'K', 'M', 'G', 'T', 'P', 'E'};
    if (bytes < 1024) return std::to_string(bytes);
    int power = 0;
    double value = static_cast<double>(bytes) / 1024;
    while (value >= 1023.95 && power < 5) { // what would be printed as 1024.0
        value /= 1024;
        power++;
    }
    char text[32];
    bool whole = value == static_cast<double>(static_cast<std::uint64_t>(value));
    (void)std::snprintf(text, sizeof text, whole ? "%.0f%c" : "%.1f%c", value,
                        units[static_cast<std::size_t>(power)]);
    return text;
}

std::string to_hex(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string hex;
    hex.reserve(bytes.size() * 2);
    for (unsigned char c : bytes) {
        hex += digits[c >> 4];
        hex += digits[c & 15];
    }
    return hex;
}

std::optional<std::string> from_hex(std::string_view hex) {
    auto digit = [](char c) {
        if (c >= '0' && c <= '9') return c - '0';
        if (c >= 'a' && c <= 'f') return c - 'a' + 10;
        if (c >= 'A' && c <= 'F') return c - 'A' + 10;
        return -1;
    };
    if (hex.size() % 2 != 0) return {};
    std::string bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        int high = digit(hex[i]), low = digit(hex[i + 1]);
        if (high < 0 || low < 0) return {};
        bytes += static_cast<char>(high << 4 | low);
    }
    return bytes;
}

std::optional<std::string> first_host(std::string_view hostlist) {
    std::string name;
    bool inside = false; // in a bracket whose first member is being copied
    bool skipping = false;
    for (char c : hostlist) {
        if (c == '[') {
            if (inside) return {};
            inside = true;
            skipping = false;
        } else if (c == ']') {
            if (!inside) return {};
            inside = skipping = false;
        } else if (inside && (c == '-' || c == ',')) {
            skipping = true;
        } else if (c == ',') {
            break;
        } else if (!skipping) {
            name += c;
        }
    }
    if (inside || name.empty()) return {};
    return name;
}

} // namespace dtask

// SPDX-License-Identifier: Apache-2.0
#include "lib/json/flat.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace dtask::flat {

namespace {

constexpr std::size_t most_members = 32; // names are compared with each other
constexpr std::size_t most_digits = 20;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

class Scanner {
public:
    explicit Scanner(std::string_view text) : at_(text.data()), end_(at_ + text.size()) {}

    std::optional<std::vector<Member>> object() {
        std::vector<Member> members;
        members.reserve(8);
        if (!take('{')) return {};
        if (!take('}')) {
            do {
                auto name = string();
                if (!name || !take(':') || members.size() == most_members) return {};
                auto same = [&](const Member &other) { return other.name == *name; };
                if (std::ranges::any_of(members, same)) return {};
                members.push_back({*name, Raw{}});
                if (!value(members.back())) return {};
            } while (take(','));
            if (!take('}')) return {};
        }
        skip_space();
        if (at_ != end_) return {};
        return members;
    }

private:
    void skip_space() {
        while (at_ != end_ && is_space(*at_)) at_++;
    }
    bool take(char c) {
        skip_space();
        if (at_ == end_ || *at_ != c) return false;
        at_++;
        return true;
    }

    // A plain one; nothing, and no step, where it is not.
    std::optional<std::string_view> string() {
        skip_space();
        if (at_ == end_ || *at_ != '"') return {};
        const char *close = std::find(at_ + 1, end_, '"');
        std::string_view text(at_ + 1, static_cast<std::size_t>(close - at_ - 1));
        if (close == end_ || !plain(text)) return {};
        at_ = close + 1;
        return text;
    }

    // A whole number of at most 63 bits; nothing, and no step, where it is another.
    std::optional<std::uint64_t> natural() {
        const char *p = at_;
        std::uint64_t number = 0;
        for (; p != end_ && is_digit(*p) && p - at_ < 18; p++)
            number = number * 10 + static_cast<std::uint64_t>(*p - '0');
        bool zeros = p - at_ > 1 && *at_ == '0';
        // Of more than 18 digits, with a fraction or an exponent: not ours.
        bool more = p != end_ && (is_digit(*p) || *p == '.' || *p == 'e' || *p == 'E');
        if (p == at_ || zeros || more) return {};
        at_ = p;
        return number;
    }

    std::optional<Column> column() {
        const char *begin = at_++;
        Column numbers;
        if (take(']')) return numbers;
        do {
            skip_space();
            auto number = natural();
            if (!number) {
                at_ = begin;
                return {};
            }
            numbers.push_back(*number);
        } while (take(','));
        if (take(']')) return numbers;
        at_ = begin;
        return {};
    }

    bool value(Member &member) {
        skip_space();
        if (at_ == end_) return false;
        if (*at_ == '[') {
            if (auto numbers = column()) {
                member.value = std::move(*numbers);
                return true;
            }
        } else if (*at_ == '"') {
            if (auto text = string()) {
                member.value = *text;
                return true;
            }
        } else if (auto number = natural()) {
            member.value = static_cast<std::int64_t>(*number);
            return true;
        }
        return raw(member);
    }

    // To the comma or brace behind a value of whatever kind. What is in it is the
    // parser's to judge; brackets of the wrong kind, too, stay within it.
    bool raw(Member &member) {
        const char *begin = at_;
        for (std::size_t depth = 0; at_ != end_; at_++) {
            if (*at_ == '"' && !skip_string()) return false;
            if (*at_ == '[' || *at_ == '{') depth++;
            bool closes = *at_ == ']' || *at_ == '}';
            if (depth == 0 && (closes || *at_ == ',')) break;
            depth -= closes;
        }
        member.value = Raw{{begin, static_cast<std::size_t>(at_ - begin)}};
        return at_ != begin;
    }

    // To its closing quote.
    bool skip_string() {
        for (at_++; at_ != end_ && *at_ != '"'; at_++)
            if (*at_ == '\\' && ++at_ == end_) return false;
        return at_ != end_;
    }

    const char *at_, *end_;
};

} // namespace

std::optional<std::vector<Member>> scan(std::string_view text) { return Scanner(text).object(); }

bool plain(std::string_view text) {
    return std::ranges::all_of(
        text, [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; });
}

void append(std::string &text, std::int64_t number) {
    char digits[most_digits + 1];
    auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
    text.append(digits, end);
}

void append(std::string &text, const Column &column) {
    // Room for all at once: a string that grows by each number costs more than the numbers.
    auto largest = column.empty() ? 0 : *std::ranges::max_element(column);
    std::size_t each = 2;
    for (auto rest = largest; rest > 9; rest /= 10) each++;
    std::size_t before = text.size();
    text.resize(before + 2 + each * column.size());
    char *at = text.data() + before, *end = text.data() + text.size();
    *at++ = '[';
    for (auto number : column) {
        at = std::to_chars(at, end, number).ptr;
        *at++ = ',';
    }
    if (!column.empty()) at--;
    *at++ = ']';
    text.resize(static_cast<std::size_t>(at - text.data()));
}

} // namespace dtask::flat

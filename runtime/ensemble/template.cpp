// SPDX-License-Identifier: Apache-2.0
#include "runtime/ensemble/template.h"

#include <algorithm>
#include <array>
#include <optional>

#include "lib/base/strings.h"
#include "lib/model/command.h"

namespace dtask::ensemble {

namespace {

using namespace std::string_view_literals;

constexpr std::array changes{"//"sv, "/."sv, "/"sv, "."sv, ""sv}; // the longest first

constexpr std::string_view plain =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=@%+,-^";
// In a command line outside of placeholders.
constexpr std::string_view special = "|&;<>()$`\\\"'*?[]{}~#!\n";
// A line that begins with one of these is a shell's.
constexpr std::array builtins{"."sv,     ":"sv,      "alias"sv, "bg"sv,   "break"sv,  "case"sv,
                              "cd"sv,    "eval"sv,   "exec"sv,  "exit"sv, "export"sv, "fg"sv,
                              "for"sv,   "if"sv,     "local"sv, "read"sv, "return"sv, "set"sv,
                              "shift"sv, "source"sv, "time"sv,  "trap"sv, "type"sv,   "ulimit"sv,
                              "umask"sv, "unset"sv,  "until"sv, "wait"sv, "while"sv};
constexpr std::array operators{"|"sv,  "||"sv,  "&"sv,    "&&"sv,  ";"sv,   "<"sv,
                               ">"sv,  ">>"sv,  "2>"sv,   "2>>"sv, "|&"sv,  "&>"sv,
                               ";;"sv, "<<<"sv, "2>&1"sv, ">&2"sv, "1>&2"sv};

bool one_of(std::string_view word, const auto &words) {
    return std::ranges::find(words, word) != words.end();
}

// Several arguments that were meant for a shell: an operator, or a word that ends a command.
bool joins(const std::string &argument) {
    return one_of(argument, operators) || (argument.size() > 1 && argument.ends_with(';'));
}

std::vector<std::string_view> words_of(std::string_view line) {
    std::vector<std::string_view> words;
    for (std::size_t at = 0; (at = line.find_first_not_of(" \t", at)) != line.npos;) {
        auto end = std::min(line.find_first_of(" \t", at), line.size());
        words.push_back(line.substr(at, end - at));
        at = end;
    }
    return words;
}

bool is_shells(std::string_view line) {
    if (line.find_first_of(special) != line.npos) return true;
    auto words = words_of(line);
    return !words.empty() &&
           (words.front().find('=') != std::string_view::npos || one_of(words.front(), builtins));
}

std::string joined(const std::vector<std::string> &words) {
    std::string line;
    for (const auto &word : words) line.append(line.empty() ? "" : " ").append(word);
    return line;
}

struct Placeholder {
    std::int64_t value = 0;
    std::string_view change;
};

// What stands between braces, where it is a placeholder of the row.
std::optional<Placeholder> placeholder(std::string_view inside,
                                       const std::vector<std::string> &columns) {
    for (auto change : changes) {
        if (!inside.ends_with(change)) continue;
        auto name = inside.substr(0, inside.size() - change.size());
        if (name.empty()) return Placeholder{0, change};
        auto column = std::ranges::find(columns, name);
        if (column != columns.end()) return Placeholder{column - columns.begin() + 1, change};
        bool from_end = name.starts_with('-');
        auto number = parse_uint(name.substr(from_end ? 1 : 0), 1'000'000);
        if (number && *number > 0)
            return Placeholder{from_end ? -static_cast<std::int64_t>(*number)
                                        : static_cast<std::int64_t>(*number),
                               change};
    }
    return {};
}

} // namespace

std::string quote(std::string_view text) {
    if (!text.empty() && text.find_first_not_of(plain) == text.npos) return std::string(text);
    std::string quoted = "'";
    for (char c : text) {
        if (c == '\'')
            quoted += "'\\''";
        else
            quoted += c;
    }
    return quoted + '\'';
}

std::string changed(std::string_view value, std::string_view change) {
    auto last = [](std::string_view path) {
        auto slash = path.rfind('/');
        return slash == path.npos ? path : path.substr(slash + 1);
    };
    auto stem = [](std::string_view path) {
        auto dot = path.rfind('.');
        bool extension =
            dot != path.npos && dot + 1 < path.size() && path.find('/', dot) == path.npos;
        return extension ? path.substr(0, dot) : path;
    };
    if (change == ".") return std::string(stem(value));
    if (change == "/") return std::string(last(value));
    if (change == "/.") return std::string(stem(last(value)));
    if (change != "//") return std::string(value);
    auto slash = value.rfind('/');
    if (slash == value.npos) return ".";
    auto end = value.find_last_not_of('/', slash);
    return end == value.npos ? "/" : std::string(value.substr(0, end + 1));
}

Result<Text> Text::parse(std::string_view text, const std::vector<std::string> &columns,
                         std::size_t width) {
    Text parsed;
    auto literal = [&](std::string_view part) {
        if (part.empty()) return;
        if (parsed.pieces_.empty() || parsed.pieces_.back().part != Part::text)
            parsed.pieces_.push_back({});
        parsed.pieces_.back().text += part;
    };
    while (!text.empty()) {
        auto open = text.find('{');
        auto close = open == text.npos ? text.npos : text.find('}', open);
        if (close == text.npos) break;
        // The innermost: "{a{}" has one.
        open = text.rfind('{', close);
        auto inside = text.substr(open + 1, close - open - 1);
        literal(text.substr(0, open));
        if (inside == "#") {
            parsed.pieces_.push_back({Part::number, {}, 0, {}});
        } else if (inside == "%") {
            parsed.pieces_.push_back({Part::slot, {}, 0, {}});
        } else if (auto found = placeholder(inside, columns)) {
            auto far = static_cast<std::uint64_t>(std::abs(found->value));
            if (width > 0 && far > width)
                return fail("{" + std::string(inside) + "}: the inputs have " +
                            std::to_string(width) + (width == 1 ? " value" : " values") + " a job");
            parsed.pieces_.push_back({Part::whole, {}, found->value, found->change});
        } else {
            literal(text.substr(open, close + 1 - open));
        }
        text.remove_prefix(close + 1);
    }
    literal(text);
    return parsed;
}

std::string Text::expand(const Row &row, bool quoted) const {
    std::string text;
    auto put = [&](const std::string &value) { text += quoted ? quote(value) : value; };
    for (const auto &piece : pieces_) {
        auto count = static_cast<std::int64_t>(row.values.size());
        switch (piece.part) {
        case Part::text: text += piece.text; break;
        case Part::number: text += std::to_string(row.number); break;
        case Part::slot: text += model::slot_mark; break;
        case Part::whole:
            if (piece.value == 0) {
                for (std::int64_t n = 0; n < count; n++) {
                    if (n > 0) text += ' ';
                    put(changed(row.values[static_cast<std::size_t>(n)], piece.change));
                }
            } else {
                auto at = piece.value > 0 ? piece.value - 1 : count + piece.value;
                bool there = at >= 0 && at < count;
                put(there ? changed(row.values[static_cast<std::size_t>(at)], piece.change) : "");
            }
        }
    }
    return text;
}

bool Text::uses_slot() const {
    return std::ranges::any_of(pieces_, [](const auto &p) { return p.part == Part::slot; });
}

bool Text::constant() const {
    return std::ranges::all_of(pieces_, [](const auto &p) { return p.part == Part::text; });
}

bool Text::needs_shell() const {
    std::string own;
    for (const auto &piece : pieces_) own += piece.part == Part::text ? piece.text : "x";
    return is_shells(own);
}

Result<Template> Template::parse(const std::vector<std::string> &command,
                                 const std::vector<std::string> &columns, std::size_t width,
                                 Shell mode, std::string shell) {
    Template made;
    made.mode_ = mode;
    made.shell_ = std::move(shell);
    made.rows_ = command.empty();
    made.name_ =
        command.empty() ? "command" : std::string(words_of(command.front() + " x").front());
    if (made.rows_) return made;

    bool single = command.size() == 1;
    bool join = mode != Shell::never &&
                (mode == Shell::always || single || std::ranges::any_of(command, joins));
    auto line = Text::parse(joined(command), columns, width);
    if (!line) return fail_from(std::move(line));
    bool append = line->constant();
    if (append) {
        line = Text::parse(joined(command) + " {}", columns, width);
        if (!line) return fail_from(std::move(line));
    }
    made.joined_ = join && (mode == Shell::always || !single || line->needs_shell());
    if (made.joined_) {
        made.words_.push_back(std::move(*line));
        return made;
    }
    std::vector<std::string> words(command);
    if (single && mode != Shell::never) {
        auto cut = words_of(command.front());
        words.assign(cut.begin(), cut.end());
    }
    if (append) words.emplace_back("{}");
    for (const auto &word : words) {
        auto text = Text::parse(word, columns, width);
        if (!text) return fail_from(std::move(text));
        made.words_.push_back(std::move(*text));
    }
    return made;
}

std::vector<std::string> Template::argv(const Row &row) const {
    if (joined_) return {shell_, "-c", words_.front().expand(row, true)};
    std::vector<std::string> all;
    if (rows_) {
        auto text = joined(row.values);
        if (mode_ == Shell::always || (mode_ == Shell::if_needed && is_shells(text)))
            return {shell_, "-c", text};
        for (auto word : words_of(text)) all.emplace_back(word);
        return all;
    }
    for (const auto &word : words_) all.push_back(word.expand(row));
    return all;
}

std::string Template::line(const Row &row) const {
    if (joined_) return words_.front().expand(row, true);
    if (rows_) return joined(row.values);
    std::string line;
    for (const auto &word : words_)
        line.append(line.empty() ? "" : " ").append(quote(word.expand(row)));
    return line;
}

bool Template::uses_slot() const {
    return std::ranges::any_of(words_, [](const auto &word) { return word.uses_slot(); });
}

} // namespace dtask::ensemble

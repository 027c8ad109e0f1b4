// SPDX-License-Identifier: Apache-2.0
#include "runtime/ensemble/inputs.h"

#include <algorithm>
#include <limits>

#include <fcntl.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/strings.h"

namespace dtask::ensemble {

namespace {

constexpr std::size_t most_input = std::size_t{4} << 30; // bytes of one file

using Entry = std::vector<std::string>;

Result<std::string> read_input(const std::string &path) {
    if (path != "-") return read_file(path, most_input);
    auto text = read_all(STDIN_FILENO, most_input);
    if (!text) return fail_from(std::move(text), "standard input");
    return text;
}

std::vector<std::string> cut_line(std::string_view line, const std::string &separator) {
    std::vector<std::string> values;
    if (separator.empty()) return {std::string(line)};
    for (;;) {
        auto at = line.find(separator);
        values.emplace_back(line.substr(0, at));
        if (at == line.npos) return values;
        line.remove_prefix(at + separator.size());
    }
}

Result<std::vector<Entry>> entries_of(std::string_view text, const Cut &cut) {
    if (cut.csv) return parse_csv(text);
    std::vector<Entry> entries;
    while (!text.empty()) {
        auto end = text.find(cut.end);
        auto line = text.substr(0, end);
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
        if (line.find('\0') != line.npos) return fail("a line has a byte 0; see --null");
        if (!line.empty() || cut.keep_empty) entries.push_back(cut_line(line, cut.separator));
    }
    return entries;
}

} // namespace

Result<std::vector<Entry>> parse_csv(std::string_view text) {
    std::vector<Entry> lines;
    Entry line;
    std::string value;
    std::size_t number = 1;
    bool in_quotes = false, was_quoted = false, any = false;
    auto end_value = [&] {
        line.push_back(std::exchange(value, {}));
        was_quoted = false;
    };
    auto end_line = [&] {
        if (!any) return; // an empty line is none
        end_value();
        lines.push_back(std::exchange(line, {}));
        any = false;
    };
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
    for (std::size_t n = 0; n < text.size(); n++) {
        char c = text[n];
        if (c == '\0') return fail("line " + std::to_string(number) + " has a byte 0");
        if (in_quotes) {
            if (c == '\n') number++;
            if (c != '"') {
                value += c;
            } else if (n + 1 < text.size() && text[n + 1] == '"') {
                value += text[++n];
            } else {
                in_quotes = false;
            }
        } else if (c == '"' && value.empty() && !was_quoted) {
            in_quotes = was_quoted = any = true;
        } else if (c == ',') {
            any = true;
            end_value();
        } else if (c == '\n' || (c == '\r' && n + 1 < text.size() && text[n + 1] == '\n')) {
            if (c == '\r') n++;
            end_line();
            number++;
        } else if (was_quoted) {
            return fail("line " + std::to_string(number) + " goes on behind a closing quote");
        } else {
            any = true;
            value += c;
        }
    }
    if (in_quotes) return fail("a quote is not closed at the end of the file");
    end_line();
    return lines;
}

Result<std::vector<Source>> parse_sources(const std::vector<std::string> &arguments) {
    std::vector<Source> sources;
    bool files = false;
    for (const auto &argument : arguments) {
        bool plus = argument.ends_with('+');
        std::string_view colons(argument.data(), argument.size() - (plus ? 1 : 0));
        if (colons == ":::" || colons == "::::") {
            files = colons.size() == 4;
            if (plus && sources.empty()) return fail(argument + ": there is no input before it");
            if (!files) sources.push_back({false, {}, plus});
            if (files && plus) sources.push_back({true, {}, true});
        } else if (files && !(!sources.empty() && sources.back().is_file && sources.back().linked &&
                              sources.back().entries.empty())) {
            sources.push_back({true, {argument}, false});
        } else {
            sources.back().entries.push_back(argument);
        }
    }
    for (const auto &source : sources)
        if (source.is_file && source.entries.empty()) return fail("::::+ needs a file");
    return sources;
}

Result<Inputs> Inputs::read(const std::vector<Source> &sources, const Cut &cut, bool link_all) {
    Inputs inputs;
    inputs.link_all_ = link_all;
    bool even = true;
    for (const auto &source : sources) {
        List list;
        list.linked = source.linked;
        if (source.is_file) {
            auto text = read_input(source.entries.front());
            if (!text) return fail_from(std::move(text), "inputs");
            auto entries = entries_of(*text, cut);
            if (!entries) return fail_from(std::move(entries), source.entries.front());
            list.entries = std::move(*entries);
        } else {
            for (const auto &word : source.entries)
                list.entries.push_back(cut.csv ? Entry{word} : cut_line(word, cut.separator));
        }
        std::size_t wide = list.entries.empty() ? 1 : list.entries.front().size();
        bool header = cut.header && (source.is_file || !cut.csv);
        if (header && !list.entries.empty()) {
            for (auto &name : list.entries.front()) inputs.columns_.push_back(std::move(name));
            list.entries.erase(list.entries.begin());
        }
        for (const auto &entry : list.entries) even = even && entry.size() == wide;
        inputs.width_ += wide;
        inputs.lists_.push_back(std::move(list));
    }
    if (!even) inputs.width_ = 0;

    auto &lists = inputs.lists_;
    if (lists.empty()) return inputs;
    auto empty = [](const List &list) { return list.entries.empty(); };
    if (std::ranges::any_of(lists, empty)) return inputs;
    if (link_all) {
        for (const auto &list : lists)
            inputs.size_ = std::max<std::uint64_t>(inputs.size_, list.entries.size());
        return inputs;
    }
    // Of linked ones the shortest counts.
    for (std::size_t n = lists.size(); n-- > 1;)
        if (lists[n].linked) {
            auto shortest = std::min(lists[n].entries.size(), lists[n - 1].entries.size());
            lists[n - 1].entries.resize(shortest);
        }
    for (std::size_t n = 1; n < lists.size(); n++)
        if (lists[n].linked) lists[n].entries.resize(lists[n - 1].entries.size());
    inputs.size_ = 1;
    constexpr auto most = std::numeric_limits<std::uint32_t>::max();
    for (const auto &list : lists) {
        if (list.linked) continue;
        if (inputs.size_ > most / list.entries.size())
            return fail("the inputs have more than " + std::to_string(most) + " combinations");
        inputs.size_ *= list.entries.size();
    }
    return inputs;
}

Row Inputs::row(std::uint64_t number) const {
    Row row{number, {}};
    std::vector<std::uint64_t> at(lists_.size());
    auto left = number - 1;
    if (link_all_) {
        for (std::size_t n = 0; n < lists_.size(); n++) at[n] = left % lists_[n].entries.size();
    } else {
        for (std::size_t n = lists_.size(); n-- > 0;) {
            if (lists_[n].linked) continue;
            at[n] = left % lists_[n].entries.size();
            left /= lists_[n].entries.size();
        }
        for (std::size_t n = 1; n < lists_.size(); n++)
            if (lists_[n].linked) at[n] = at[n - 1];
    }
    for (std::size_t n = 0; n < lists_.size(); n++) {
        const auto &entry = lists_[n].entries[at[n]];
        row.values.insert(row.values.end(), entry.begin(), entry.end());
    }
    return row;
}

} // namespace dtask::ensemble

// SPDX-License-Identifier: Apache-2.0
#include "runtime/cli/format.h"

#include <clocale>
#include <cwchar>
#include <utility>

#include <fmt/format.h>

namespace dtask::cli {

namespace {

// Characters are UTF-8, whatever the user's locale says: names come from elsewhere.
void use_utf8() {
    static const bool done = std::setlocale(LC_CTYPE, "C.UTF-8") != nullptr;
    (void)done;
}

/// The first character: its bytes, at least one, and its columns, below 0 where it is not
/// printable.
std::pair<std::size_t, int> first(std::string_view text) {
    use_utf8();
    std::mbstate_t state{};
    wchar_t wide = 0;
    auto bytes = std::mbrtowc(&wide, text.data(), text.size(), &state);
    if (bytes == 0 || bytes > text.size()) return {1, -1};
    return {bytes, ::wcwidth(wide)};
}

} // namespace

std::string span(std::uint64_t ms) {
    auto s = ms / 1'000, minutes = s / 60, hours = minutes / 60, days = hours / 24;
    if (s < 10) return fmt::format("{}.{} s", s, ms / 100 % 10);
    if (s < 60) return fmt::format("{} s", s);
    if (hours == 0) return fmt::format("{}:{:02}", minutes, s % 60);
    if (days == 0) return fmt::format("{}:{:02}:{:02}", hours, minutes % 60, s % 60);
    return fmt::format("{}d {:02}:{:02}:{:02}", days, hours % 24, minutes % 60, s % 60);
}

std::string rate(const proto::Info &info) {
    if (info.recent_ms == 0) return "0.0/s";
    double each_second =
        1'000 * static_cast<double>(info.recent_done) / static_cast<double>(info.recent_ms);
    return each_second < 100 ? fmt::format("{:.1f}/s", each_second)
                             : fmt::format("{:.0f}/s", each_second);
}

std::string printable(std::string_view text) {
    std::string line;
    while (!text.empty()) {
        auto [bytes, columns] = first(text);
        if (columns >= 0)
            line += text.substr(0, bytes);
        else
            line += text[0] == '\n' || text[0] == '\t' ? ' ' : '?';
        text.remove_prefix(bytes);
    }
    return line;
}

std::size_t columns_of(std::string_view text) {
    std::size_t sum = 0;
    while (!text.empty()) {
        auto [bytes, columns] = first(text);
        sum += columns > 0 ? static_cast<std::size_t>(columns) : 0;
        text.remove_prefix(bytes);
    }
    return sum;
}

std::string fit(std::string_view text, std::size_t columns) {
    std::string line;
    std::size_t used = 0;
    while (!text.empty()) {
        auto [bytes, width] = first(text);
        auto next = used + (width > 0 ? static_cast<std::size_t>(width) : 0);
        if (next > columns) break;
        line += text.substr(0, bytes);
        text.remove_prefix(bytes);
        used = next;
    }
    return line.append(columns - used, ' ');
}

std::string current(const proto::WorkerInfo &worker) {
    if (worker.tasks.empty()) return {};
    auto text = printable(worker.tasks[0].name) + ' ' + span(worker.tasks[0].ms);
    if (worker.running > 1) text += fmt::format(" +{}", worker.running - 1);
    return text;
}

std::string failure_line(const proto::FailureInfo &failure, std::uint64_t uptime_ms) {
    auto ago = span(uptime_ms > failure.task.ms ? uptime_ms - failure.task.ms : 0);
    return fmt::format("{} {}: {} ({}{} ago)", printable(failure.task.name),
                       proto::name_of(failure.kind), printable(failure.message),
                       failure.worker.empty() ? "" : printable(failure.worker) + ", ", ago);
}

} // namespace dtask::cli

// SPDX-License-Identifier: Apache-2.0
#include "runtime/ensemble/progress.h"

#include <algorithm>

#include <fmt/format.h>

namespace dtask::ensemble {

namespace {

constexpr double second = 1e6;

std::uint64_t run(const Counts &counts) { return counts.ended - counts.skipped; }

double rate(const Counts &counts) {
    return counts.elapsed_us <= 0
               ? 0
               : static_cast<double>(run(counts)) * second / static_cast<double>(counts.elapsed_us);
}

std::string per_second(double rate) {
    return rate >= 10 ? fmt::format("{:.0f}/s", rate) : fmt::format("{:.2f}/s", rate);
}

std::uint64_t percent(const Counts &counts) {
    return counts.total == 0 ? 100 : counts.ended * 100 / counts.total;
}

} // namespace

std::string span(std::int64_t us) {
    auto seconds = us / 1'000'000;
    if (us < 10'000'000) return fmt::format("{:.1f} s", static_cast<double>(us) / second);
    if (seconds < 60) return fmt::format("{} s", seconds);
    if (seconds < 3600) return fmt::format("{} min {} s", seconds / 60, seconds % 60);
    return fmt::format("{} h {} min", seconds / 3600, seconds % 3600 / 60);
}

std::string describe(const Counts &counts) {
    auto text = fmt::format("{}/{} {} %", counts.ended, counts.total, percent(counts));
    if (counts.failed > 0) text += fmt::format(" | {} failed", counts.failed);
    auto each = rate(counts);
    if (each > 0) {
        text += " | " + per_second(each);
        auto left = static_cast<double>(counts.total - counts.ended) / each;
        text += " | " + span(static_cast<std::int64_t>(left * second)) + " left";
    }
    if (counts.workers > 0)
        text += fmt::format(" | {} of {} workers busy", counts.busy, counts.workers);
    return text;
}

std::string bar(const Counts &counts, std::size_t width) {
    auto text = describe(counts);
    constexpr std::size_t least = 10, most = 40, frame = 3;
    if (width < text.size() + least + frame) return text.substr(0, width);
    auto room = std::min(width - text.size() - frame, most);
    auto full = static_cast<std::size_t>(room * percent(counts) / 100);
    return "[" + std::string(full, '#') + std::string(room - full, '.') + "] " + text;
}

std::string summary(const Counts &counts) {
    auto text = fmt::format("{} job{} in {}", run(counts), run(counts) == 1 ? "" : "s",
                            span(counts.elapsed_us));
    if (counts.failed > 0) text += fmt::format(", {} failed", counts.failed);
    if (counts.skipped > 0) text += fmt::format(", {} were done before", counts.skipped);
    if (counts.ended < counts.total)
        text += fmt::format(", {} did not run to their end", counts.total - counts.ended);
    return text;
}

} // namespace dtask::ensemble

// SPDX-License-Identifier: Apache-2.0
#include "runtime/cli/screen.h"

#include <algorithm>

#include <fmt/format.h>

#include "lib/base/strings.h"
#include "runtime/cli/format.h"

namespace dtask::cli {

namespace {

constexpr std::size_t most_failures = 5;
constexpr std::size_t head_rows = 5, foot_rows = 1; // head: three, an empty one, the list's
constexpr std::size_t wide = 120;                   // from here on there is room for bars
constexpr const char *red = "\x1b[31m", *yellow = "\x1b[33m", *green = "\x1b[32m",
                     *reverse = "\x1b[7m", *plain = "\x1b[0m";

std::string paint(const View &view, const char *colour, const std::string &text) {
    return view.colour ? colour + text + plain : text;
}

std::string bar(std::uint64_t part, std::uint64_t whole, std::size_t columns) {
    if (columns < 3) return std::string(columns, ' ');
    auto inner = columns - 2;
    auto full = whole == 0 ? 0
                           : static_cast<std::size_t>(static_cast<double>(std::min(part, whole)) /
                                                      static_cast<double>(whole) *
                                                      static_cast<double>(inner));
    return '[' + std::string(full, '#') + std::string(inner - full, '-') + ']';
}

/// Percent, rounded down: 100 is all.
std::uint64_t percent(std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0
                      : static_cast<std::uint64_t>(100 * static_cast<double>(part) /
                                                   static_cast<double>(whole));
}

struct Widths {
    std::size_t name, memory = 15, bar, task;
};

// "WORKER CPU MEMORY/LIMIT [bar] RUN QUEUE DONE TASK", of which the name and the task give way.
Widths widths(const proto::Info &info, const View &view) {
    std::size_t name = 6;
    for (const auto &w : info.workers) name = std::max(name, columns_of(printable(w.about.name)));
    Widths widths{};
    widths.memory = 15;
    widths.bar = view.columns >= wide ? 22 : 0;
    auto fixed = 8 + 1 + widths.memory + 1 + (widths.bar > 0 ? widths.bar + 1 : 0) + 4 + 6 + 9 + 1;
    widths.name = std::min(name, view.columns >= wide ? std::size_t{32} : std::size_t{16});
    widths.task = view.columns > fixed + widths.name ? view.columns - fixed - widths.name : 0;
    return widths;
}

std::string cpu_of(const proto::WorkerInfo &worker) {
    return fmt::format("{:.1f}/{}", static_cast<double>(worker.cpu) / 100, worker.about.nthreads);
}

std::string line_of(const proto::WorkerInfo &worker, const View &view, const Widths &widths) {
    auto limit = worker.about.memory_limit;
    auto used = percent(worker.memory, limit);
    const char *colour = limit == 0 ? nullptr : used >= 90 ? red : used >= 70 ? yellow : nullptr;
    auto memory = fmt::format(
        "{:>{}}", format_size(worker.memory) + '/' + (limit > 0 ? format_size(limit) : "none"),
        widths.memory);
    auto part = widths.bar > 0 ? ' ' + bar(worker.memory, limit, widths.bar) : "";
    auto before =
        fit(fit(printable(worker.about.name), widths.name) + fmt::format("{:>8} ", cpu_of(worker)),
            std::min(view.columns, widths.name + 9));
    auto after = fmt::format("{:>5}{:>6}{:>9} ", worker.running, worker.queued, worker.done) +
                 fit(current(worker), widths.task);
    auto left = view.columns - std::min(view.columns, widths.name + 9);
    auto middle = fit(memory + part, std::min(left, widths.memory + part.size()));
    left -= std::min(left, widths.memory + part.size());
    return before + (colour ? paint(view, colour, middle) : middle) + fit(after, left);
}

std::size_t failures_shown(const proto::Info &info, const View &view) {
    if (view.rows < head_rows + foot_rows + 6) return 0;
    return std::min({info.failures.size(), most_failures, (view.rows - head_rows - foot_rows) / 4});
}

} // namespace

std::size_t room_for_workers(const proto::Info &info, const View &view) {
    auto taken = head_rows + foot_rows + failures_shown(info, view);
    return view.rows > taken ? view.rows - taken : 0;
}

std::vector<std::string> screen(const proto::Info &info, const View &view) {
    std::vector<std::string> lines;
    auto add = [&](const std::string &text, const char *colour = nullptr) {
        if (lines.size() >= view.rows) return;
        auto line = fit(text, view.columns);
        lines.push_back(colour ? paint(view, colour, line) : line);
    };
    auto ended = info.done + info.failed, all = ended + info.waiting + info.running;
    add(fmt::format("cluster {} ({})  up {}  {} of {} workers  {} client{}", printable(info.id),
                    printable(info.engine), span(info.uptime_ms), info.workers.size(),
                    info.expected, info.clients, info.clients == 1 ? "" : "s"));
    add(fmt::format("tasks  {} waiting  {} running  {} done  {} failed  {} retried  {}",
                    info.waiting, info.running, info.done, info.failed, info.retried, rate(info)),
        info.failed > 0 ? yellow : nullptr);
    auto share = all == 0 ? std::string() : fmt::format(" {} %", percent(ended, all));
    auto room = view.columns > share.size() ? view.columns - share.size() : 0;
    add(bar(ended, all, room) + share, green);
    add("");

    auto width = widths(info, view);
    auto memory = fmt::format("{:>{}}", "MEMORY/LIMIT", width.memory) +
                  (width.bar > 0 ? std::string(width.bar + 1, ' ') : "");
    add(fit("WORKER", width.name) + fmt::format("{:>8} ", "CPU") + memory +
            fmt::format("{:>5}{:>6}{:>9} ", "RUN", "QUEUE", "DONE") + "TASK",
        reverse);
    auto count = info.workers.size();
    auto listed = room_for_workers(info, view);
    auto first = std::min(view.first, count > listed ? count - listed : 0);
    for (auto n = first; n < std::min(count, first + listed); n++)
        if (lines.size() < view.rows) lines.push_back(line_of(info.workers[n], view, width));
    auto failures = failures_shown(info, view);
    while (lines.size() + failures + foot_rows < view.rows) add("");
    for (auto n = info.failures.size() - failures; n < info.failures.size(); n++)
        add("failed: " + failure_line(info.failures[n], info.uptime_ms), red);
    std::string foot = "q quits";
    if (count > listed)
        foot += fmt::format("  up and down scroll  workers {} to {} of {}", first + 1,
                            std::min(count, first + listed), count);
    add(foot);
    return lines;
}

} // namespace dtask::cli

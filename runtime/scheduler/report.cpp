// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/report.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "lib/base/strings.h"
#include "lib/json/json.h"
#include "lib/proto/codec.h"
#include "runtime/scheduler/page.h"

namespace dtask::scheduler {

namespace {

constexpr std::uint64_t step_of_advice = 10 << 20;
constexpr std::uint64_t least_memory = 64 << 20; // of a worker
constexpr std::uint64_t enough_us = 10'000'000;  // of run time, to speak of CPUs

std::string span(std::uint64_t us) {
    auto s = us / 1'000'000;
    if (s < 60) return fmt::format("{:.1f} s", static_cast<double>(us) / 1e6);
    if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
    return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

std::string count(std::uint64_t n, std::string_view one) {
    return fmt::format("{} {}{}", n, one, n == 1 ? "" : "s");
}

double ratio(std::uint64_t a, double b) { return b > 0 ? static_cast<double>(a) / b : 0; }

struct Sums {
    std::uint64_t cpu_us = 0, nthreads = 0, slots = 0, most_threads = 0;
    bool alone = true; ///< one call at a time on each worker
};

Sums sums_of(const std::vector<Tally::Use> &uses) {
    Sums sums;
    for (const auto &use : uses) {
        sums.cpu_us += use.cpu_us;
        sums.nthreads += use.nthreads;
        sums.slots += use.concurrency;
        sums.most_threads = std::max(sums.most_threads, use.nthreads);
        sums.alone = sums.alone && use.concurrency == 1;
    }
    return sums;
}

std::string tasks_line(const Facts &facts) {
    const auto &info = facts.info;
    auto text = fmt::format("step {} took {}: {} done, {} failed", info.id, span(facts.wall_us),
                            count(info.done, "task"), info.failed);
    if (info.retried > 0) text += fmt::format(", {} tried again", info.retried);
    return text;
}

std::string efficiency_line(const Facts &facts, const Sums &sums) {
    auto used = ratio(sums.cpu_us, static_cast<double>(facts.wall_us));
    return fmt::format("efficiency {:.0f} %: {:.1f} of {} CPUs were used on average",
                       100 * used / static_cast<double>(std::max<std::uint64_t>(facts.cpus, 1)),
                       used, facts.cpus);
}

void add_memory(std::vector<std::string> &lines, const Facts &facts) {
    auto share = [](const Tally::Use &use) {
        return use.limit > 0 ? ratio(use.peak, static_cast<double>(use.limit))
                             : static_cast<double>(use.peak) / 1e18;
    };
    auto most = std::ranges::max_element(facts.uses, {}, share);
    if (most == facts.uses.end() || most->peak == 0) return;
    auto of_limit = most->limit > 0 ? " of the limit of " + format_size(most->limit) : "";
    bool sampled = std::ranges::any_of(facts.uses, &Tally::Use::sampled);
    lines.push_back(fmt::format("memory: the largest peak was {}{}, on {}{}",
                                format_size(most->peak), of_limit, most->worker,
                                sampled ? ", as far as was seen once a second" : ""));

    std::uint64_t killed = 0;
    for (const auto &failure : facts.info.failures)
        killed += failure.kind == proto::FailureKind::memory;
    std::string option = facts.slurm ? "--mem-per-cpu" : "--memory";
    if (killed > 0) {
        // Only the latest are kept.
        auto kept = facts.info.failures.size();
        auto who = kept >= proto::Info::most_failures
                       ? fmt::format("{} of the latest {} failures", killed, kept)
                       : count(killed, "task");
        lines.push_back(fmt::format("next time: more than {} a worker ({}): {} passed the limit",
                                    format_size(most->limit), option, who));
        return;
    }
    if (sampled || most->limit == 0 || most->nthreads == 0) return;
    std::uint64_t need = 0; // a CPU
    for (const auto &use : facts.uses)
        need = std::max(need, std::max(use.peak + use.peak / 5, least_memory) /
                                  std::max<std::uint64_t>(use.nthreads, 1));
    need = (need + step_of_advice - 1) / step_of_advice * step_of_advice;
    if (need >= most->limit / most->nthreads / 5 * 4) return;
    if (!facts.slurm) need *= most->nthreads;
    lines.push_back(fmt::format("next time: {}={}M would have been enough for the workers: their "
                                "largest peak{}, and a fifth more",
                                option, need >> 20, facts.slurm ? " a CPU" : ""));
}

void add_cpus(std::vector<std::string> &lines, const Facts &facts, const Sums &sums) {
    auto busy = facts.info.busy_us;
    if (facts.commands || busy < enough_us) return;
    if (sums.alone && sums.most_threads > 1) {
        auto used = ratio(sums.cpu_us, static_cast<double>(busy));
        auto need = static_cast<std::uint64_t>(std::max(1.0, std::ceil(used - 0.05)));
        if (need < sums.most_threads)
            lines.push_back(fmt::format(
                "next time: --cpus-per-task={} would have been enough for the tasks, or "
                "{}concurrency={}: one used {:.1f} CPUs of {} while it ran",
                need, facts.slurm ? "--dtask-" : "--", sums.most_threads / need, used,
                sums.most_threads));
    }
    auto share = ratio(busy, static_cast<double>(sums.slots) * static_cast<double>(facts.wall_us));
    if (share < 0.5 && sums.slots > 1)
        lines.push_back(fmt::format("next time: fewer tasks of the step (-n), or more work for "
                                    "them: workers had something to run for {:.0f} % of the time",
                                    100 * share));
}

} // namespace

std::vector<std::string> report_lines(const Facts &facts) {
    auto sums = sums_of(facts.uses);
    std::vector<std::string> lines{tasks_line(facts), efficiency_line(facts, sums)};
    add_memory(lines, facts);
    add_cpus(lines, facts, sums);
    return lines;
}

// A "<" can only stand in a text of it, and would end the script that the data are in.
std::string report_html(const Facts &facts, const std::string &timeline) {
    Json lines = Json::array();
    for (const auto &line : report_lines(facts)) lines.append(Json::text(line));
    std::string data = "{\"report\":" + lines.compact() +
                       ",\"status\":" + proto::encode(facts.info).header.compact() +
                       ",\"timeline\":" + (timeline.empty() ? "null" : timeline) + "}";
    constexpr std::string_view place = ">null</script>";
    std::string html(page_html), safe = ">";
    for (char c : data)
        if (c == '<')
            safe += "\\u003c";
        else
            safe += c;
    if (auto at = html.find(place); at != std::string::npos)
        html.replace(at, place.size(), safe + "</script>");
    return html;
}

} // namespace dtask::scheduler

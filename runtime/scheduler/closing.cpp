// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/closing.h"

#include <filesystem>
#include <iostream>
#include <utility>

#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/log.h"
#include "lib/base/net.h"
#include "lib/model/pattern.h"

namespace dtask::scheduler {

namespace {

constexpr std::uint64_t worth_it_us = 60'000'000;

// As of any file that the user's programs make.
mode_t usual_mode() {
    mode_t mask = ::umask(0);
    ::umask(mask);
    return 0666 & ~mask;
}

} // namespace

Closing::Closing(const model::LaunchSpec &spec, const Server &server,
                 std::function<std::string()> timeline)
    : spec_(spec), server_(server), timeline_(std::move(timeline)) {}

Result<Closing> Closing::make(const model::LaunchSpec &spec, const Server &server,
                              std::function<std::string()> timeline) {
    Closing closing(spec, server, std::move(timeline));
    const auto &report = spec.options.report;
    if (report.kind != model::ReportOption::to_file) return closing;
    model::PatternValues values{spec.job, spec.step, spec.rank, spec.node, user_name()};
    auto path = std::filesystem::path(spec.submit_dir) / model::expand(report.file, values);
    auto directory = path.parent_path().string();
    if (::access(directory.c_str(), W_OK | X_OK) < 0)
        return fail_errno("--dtask-report=" + report.file + ": " + directory);
    std::error_code error;
    if (std::filesystem::is_directory(path, error))
        return fail("--dtask-report=" + report.file + ": " + path.string() + " is a directory");
    closing.path_ = path.string();
    return closing;
}

void Closing::on_ending() {
    facts_.info = server_.info();
    facts_.wall_us = static_cast<std::uint64_t>(server_.age_us());
    last_timeline_ = timeline_();
}

void Closing::tell() {
    facts_.cpus = std::uint64_t{spec_.ntasks} * spec_.cpus_per_task;
    facts_.slurm = spec_.job != 0;
    facts_.commands = server_.tally().commands();
    facts_.uses = server_.tally().uses();
    for (auto &worker : facts_.info.workers)
        for (const auto &use : facts_.uses)
            if (use.task == worker.about.task) {
                worker.peak = use.peak;
                worker.cpu_us = use.cpu_us;
            }
    if (!path_.empty())
        if (auto done = replace_file(path_, report_html(facts_, last_timeline_), usual_mode());
            !done)
            log::warning("--dtask-report: " + done.error().text());
    auto ended = facts_.info.done + facts_.info.failed;
    switch (spec_.options.report.kind) {
    case model::ReportOption::off: return;
    case model::ReportOption::automatic:
        if (ended == 0 || facts_.wall_us < worth_it_us) return;
        break;
    case model::ReportOption::on:
    case model::ReportOption::to_file: break;
    }
    std::string text; // at once, so that lines of others do not come between
    for (const auto &line : report_lines(facts_)) text += "dtask: " + line + '\n';
    if (!path_.empty()) text += "dtask: the report is in " + path_ + '\n';
    std::cerr << text << std::flush;
}

} // namespace dtask::scheduler

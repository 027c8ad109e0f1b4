// SPDX-License-Identifier: Apache-2.0
//
// Report: what a step has done, how well it has used what it had, and what to ask for the
// next time. Pure. The rules, each told with its number:
//
//   efficiency   CPU time of all that workers have run ÷ (CPUs of the step × its time)
//   memory       the largest peak of a worker a CPU, a fifth more, in steps of 10M and 64M a
//                worker at least; told where that is less than four fifths of the limit a CPU, and
//                cgroups have kept the peaks
//   CPUs         CPU time ÷ run time of the tasks, rounded up; told where tasks are functions,
//                one at a time on a worker, that have run 10 s in all, and it is less than
//                the worker's CPUs
//   workers      run time of the tasks ÷ (executors × time); told where it is below a half
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/proto/message.h"
#include "runtime/scheduler/tally.h"

namespace dtask::scheduler {

struct Facts {
    proto::Info info; ///< of the end
    std::uint64_t wall_us = 0;
    std::uint64_t cpus = 0; ///< of the step
    bool slurm = true;      ///< else `dtask run`, whose options have other names
    bool commands = false;  ///< some of its tasks were commands
    std::vector<Tally::Use> uses;
};

/// A sentence each, without a full stop.
std::vector<std::string> report_lines(const Facts &facts);

/// The page with all its data in it. `timeline` as of Timeline::json.
std::string report_html(const Facts &facts, const std::string &timeline);

} // namespace dtask::scheduler

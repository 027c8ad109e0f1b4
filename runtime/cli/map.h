// SPDX-License-Identifier: Apache-2.0
//
// `dtask map`: runs a command for each of many inputs on a cluster, as the step's
// client or from anywhere that the scheduler file can be read. It checks what was asked
// for; runtime/ensemble does it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/env.h"
#include "lib/base/result.h"

namespace dtask::cli {

struct MapRequest {
    std::vector<std::string> command;
    std::vector<std::string> inputs; ///< the arguments from the first ":::" on
    std::vector<std::string> files;  ///< -a
    bool null = false, csv = false, link = false, keep_empty = false;
    std::string separator, header;
    std::uint64_t cpus = 1, retries = 0, max_fails = 0;
    std::string memory, timeout;
    bool keep_order = false, tag = false, line_buffer = false, shell = false, quote = false,
         resume = false;
    bool dry_run = false;
    std::string workdir, input, output, errors, joblog, journal;
    std::vector<std::string> variables; ///< --env
    std::string progress;               ///< auto, bar, lines, none
    std::string scheduler_file;
};

/// What the arguments of `dtask map` are, without the ones from the first ":::" on, which
/// become request.inputs.
std::vector<std::string> cut_inputs(const std::vector<std::string> &arguments, MapRequest &request);

/// The exit code.
Result<int> map(const MapRequest &request, const Env &env);

} // namespace dtask::cli

// SPDX-License-Identifier: Apache-2.0
//
// `dtask explain`, `dtask logs`, `dtask cancel` and `dtask stop`: what is asked of a running
// cluster about one task, or done to some, from anywhere that the scheduler file can be read.
// What a task is called: lib/model/task_name.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/cli/cluster.h"

namespace dtask::cli {

struct ExplainRequest {
    std::string scheduler_file, task;
    bool json = false;
};
Result<Said> explain(const ExplainRequest &request, const Env &env);

struct LogsRequest {
    std::string scheduler_file, of; ///< a worker's name, "scheduler", or a task
    std::uint64_t lines = 0;        ///< the last ones; 0: all that is kept
};
Result<Said> logs(const LogsRequest &request, const Env &env);

struct CancelRequest {
    std::string scheduler_file;
    std::vector<std::string> tasks;
    bool all = false;
};
Result<Said> cancel(const CancelRequest &request, const Env &env);

struct StopRequest {
    std::string scheduler_file;
    std::uint64_t timeout_s = 60; ///< for the end, which is waited for
};
Result<Said> stop(const StopRequest &request, const Env &env);

} // namespace dtask::cli

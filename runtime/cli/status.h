// SPDX-License-Identifier: Apache-2.0
//
// `dtask status`: asks a running cluster's scheduler who is there and what it
// does; with `ping`, each worker too, over the network of the tasks.
#pragma once

#include <string>

#include "lib/base/env.h"
#include "lib/base/result.h"

namespace dtask::cli {

struct StatusRequest {
    std::string scheduler_file; ///< empty: DTASK_SCHEDULER_FILE, else the newest in .dtask/
    bool json = false, ping = false;
};

/// The text to print, a newline at its end.
Result<std::string> status(const StatusRequest &request, const Env &env);

} // namespace dtask::cli

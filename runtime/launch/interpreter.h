// SPDX-License-Identifier: Apache-2.0
//
// Interpreter: which Python the user's command runs, and which script, so that
// executors and Dask run the same and can import what stands beside it. Seen
// through: python itself by any path, `env [NAME=VALUE…] python …`, and a
// script with a #! line that leads to one of these. Pure but for reading the
// first line of such a script.
#pragma once

#include <string>
#include <vector>

#include "lib/base/env.h"

namespace dtask::launch {

/// The interpreter of the executors: DTASK_PYTHON, else the client's own where
/// the client is Python, else python3.
std::string executor_python(const Env &task, const std::string &command,
                            const std::vector<std::string> &arguments = {});

/// Directory of the script that a Python command runs; empty where it is not a script.
std::string script_directory(const Env &task, const std::string &command,
                             const std::vector<std::string> &arguments);

} // namespace dtask::launch

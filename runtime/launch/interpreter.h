// SPDX-License-Identifier: Apache-2.0
//
// Interpreter: which Python the user's command runs, and which script, so that
// executors and Dask run the same and can import what stands beside it. Seen
// through: python itself by any path, `env [NAME=VALUE…] python …`, and a
// script with a #! line that leads to one of these. Pure but for reading the
// first line of such a script.
//
// A container is not seen through but kept: behind `apptainer exec … IMAGE python3 …`, executors
// are started by the same words up to `python3`. So it is for singularity and ch-run. What other
// programs do with a command behind them is not known: DTASK_PYTHON can name a script that knows.
#pragma once

#include <string>
#include <vector>

#include "lib/base/env.h"
#include "lib/base/result.h"
#include "lib/base/spawn.h"

namespace dtask::launch {

/// The interpreter of the executors: DTASK_PYTHON, else the client's own where
/// the client is Python, else python3.
std::string executor_python(const Env &task, const std::string &command,
                            const std::vector<std::string> &arguments = {});

/// The words of the client's command that lead into a container, up to the interpreter; empty where
/// there is none, or DTASK_PYTHON says what to run.
std::vector<std::string> container_words(const Env &task, const std::string &command,
                                         const std::vector<std::string> &arguments);

/// container_words as one text, for services of ours, which take it out of what they hand on.
constexpr std::string_view container_variable = "DTASK_CONTAINER_WORDS";
std::string container_text(const std::vector<std::string> &words);

/// How a service of ours starts `python -m MODULE…`, from the environment that environment.h made
/// for it, with container_variable taken out. Fails where the program is not to be found; its path
/// is as it was found.
Result<SpawnSpec> python_command(Env env, const std::vector<std::string> &module);

/// Directory of the script that a Python command runs; empty where it is not a script.
std::string script_directory(const Env &task, const std::string &command,
                             const std::vector<std::string> &arguments);

} // namespace dtask::launch

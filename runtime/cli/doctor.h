// SPDX-License-Identifier: Apache-2.0
//
// `dtask doctor`: what is wrong with dtask's installation on this host, and how to mend it.
#pragma once

#include <string>

#include "runtime/doctor/rules.h"

namespace dtask::cli {

/// The text to print: a line for each finding, and one for its mend.
std::string table(const doctor::Facts &facts, const std::vector<doctor::Finding> &findings);
/// The same for programs: {"version", "host", "errors", "warnings", "findings": [{"verdict",
/// "subject", "text", "mend"}]}.
std::string json(const doctor::Facts &facts, const std::vector<doctor::Finding> &findings);
/// 1 where one is an error, else 0.
int exit_code_of(const std::vector<doctor::Finding> &findings);

} // namespace dtask::cli

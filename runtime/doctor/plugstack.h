// SPDX-License-Identifier: Apache-2.0
//
// Plugstack: which lines of plugstack.conf, and of what it includes, load dtask.
// Slurm's rules (spank(7)): a line is `required` or `optional`, a path and words, or
// `include` and a pattern of files; # begins a comment.
#pragma once

#include <string>

#include "runtime/doctor/facts.h"

namespace dtask::doctor {

/// `plugin_directory`: where a plugin's path that is not absolute begins.
Plugstack read_plugstack(const std::string &path, const std::string &plugin_directory);

} // namespace dtask::doctor

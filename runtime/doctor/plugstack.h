// SPDX-License-Identifier: Apache-2.0
//
// Plugstack: which lines of plugstack.conf, and of what it includes, load dtask.
// Slurm's rules (spank(7)): a line is `required` or `optional`, a path and words, or
// `include` and a pattern of files; # begins a comment.
#pragma once

#include <string>
#include <string_view>

#include "lib/model/site.h"
#include "runtime/doctor/facts.h"

namespace dtask::doctor {

/// `plugin_directory`: where a plugin's path that is not absolute begins.
Plugstack read_plugstack(const std::string &path, const std::string &plugin_directory);

/// What the words of the line say; `launcher` where they name none.
Result<model::Site> site_of(const PluginLine &line, std::string_view launcher = "");

} // namespace dtask::doctor

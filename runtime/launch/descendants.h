// SPDX-License-Identifier: Apache-2.0
//
// Descendants: nothing that a task started outlives it. The launcher is the
// reaper of all processes below it, so that orphans become its children and
// can be found and killed at the end.
#pragma once

#include <string>

namespace dtask::launch {

/// From now on orphans below this process become its children.
void adopt_orphans();

/// Kills and reaps every child, and what becomes a child by that, until none
/// is left.
void kill_descendants();

/// Kills the children, orphans of a worker that has ended among them, whose
/// environment says that they are of worker `name`.
void kill_children_of(const std::string &name);

} // namespace dtask::launch

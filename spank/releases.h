// SPDX-License-Identifier: Apache-2.0
//
// Releases: what differs between the releases of Slurm that the plugin is built for, and nothing
// else does so: no other file of the project asks for Slurm's release, or for what its headers
// have. doc/slurm-releases.md says which were tried.
//
//   from 23.11 on  spank_prepend_task_argv puts a program in front of a task's command; before,
//                  the first word of the command is replaced, and the program is told that word.
//   before 23.11   only a negative number is a failure of a hook: plugin.cpp returns -1, always.
//   from 24.11 on  slurm_step_id_t begins with an id of another kind, which 0 leaves out: whoever
//                  makes one sets its fields by name and all others to 0 (nodes.cpp).
//   newer ones     name a task's cgroup by its rank in the step, older ones by that on the node:
//                  lib/cgroup takes what the kernel says.
//   25.05          tasks begin with SIGCHLD blocked: ev::Signal does not mind, spawn() unblocks.
//
// The program that loads a plugin takes it only if their major and minor numbers are the same, and
// says so; for 24.11.1 the plugin of 24.11.7 will do.
#pragma once

#include <string>

#include "lib/base/result.h"
#include "spank/api.h"

namespace dtask::spank {

/// In task_init, as the user, in the task's own process: has `launcher` run as the task, with the
/// user's command behind it. Returns the command's first word where the launcher does not get it
/// as an argument, else an empty string.
Result<std::string> put_in_front(spank_t spank, const std::string &launcher);

} // namespace dtask::spank

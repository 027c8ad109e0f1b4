// SPDX-License-Identifier: Apache-2.0
//
// Gather: the facts of this host. It changes nothing: it reads files, asks Slurm's, munge's
// and Python's own commands, each for a bounded time, and makes an unnamed file where one
// has to be writable.
#pragma once

#include "lib/base/env.h"
#include "runtime/doctor/facts.h"

namespace dtask::doctor {

Facts gather(const Env &env);

} // namespace dtask::doctor

// SPDX-License-Identifier: Apache-2.0
//
// The scheduler as a process: `dtaskd scheduler`, started by task 0's launcher.
#pragma once

#include "lib/base/env.h"

namespace dtask::scheduler {

/// Serves until the step ends; the process' exit code.
int main(Env env);

} // namespace dtask::scheduler

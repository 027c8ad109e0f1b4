// SPDX-License-Identifier: Apache-2.0
//
// Ask: runs a program for what it prints, for a bounded time and a bounded amount.
#pragma once

#include <string>
#include <vector>

#include "lib/base/env.h"
#include "lib/base/result.h"

namespace dtask {

/// What it wrote to standard output. Fails where it cannot be run, ends with another code than
/// 0, or has not ended after `patience_ms`: with the last line that it wrote to standard error.
/// It and whatever it has started are gone then.
Result<std::string> ask(const std::vector<std::string> &words, const Env &env,
                        int patience_ms = 10'000);

} // namespace dtask

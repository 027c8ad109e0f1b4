// SPDX-License-Identifier: Apache-2.0
//
// Rules: what is wrong with a host, and how it is mended. Pure: each looks at the facts and
// says what it found, good or bad, in the order in which things depend on each other.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/doctor/facts.h"

namespace dtask::doctor {

enum class Verdict {
    good,
    note,    ///< works; somebody may want to know
    warning, ///< works, but less than it could, or not for everybody
    error,   ///< dtask does not work here
};

std::string_view name_of(Verdict verdict);

struct Finding {
    Verdict verdict = Verdict::good;
    std::string subject; ///< "slurm", "plugin", "cgroup", …
    std::string text;    ///< one line: what was found
    std::string mend;    ///< one line: what to do about it; empty where nothing is
};

std::vector<Finding> judge(const Facts &facts);

} // namespace dtask::doctor

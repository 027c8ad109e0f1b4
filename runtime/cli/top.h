// SPDX-License-Identifier: Apache-2.0
//
// `dtask top`: a running cluster, live, on a whole terminal; where there is none, the table of
// `dtask status` once.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/cli/cluster.h"

namespace dtask::cli {

struct TopRequest {
    std::string scheduler_file;
    std::uint64_t delay_ms = 1'000; ///< between looks
};

/// Returns once the user quits or the cluster has ended.
Result<Said> top(const TopRequest &request, const Env &env);

} // namespace dtask::cli

// SPDX-License-Identifier: Apache-2.0
//
// `dtask status`: asks a running cluster's scheduler who is there and what it
// does; with `ping`, each worker too, over the network of the tasks.
#pragma once

#include <string>
#include <vector>

#include "runtime/cli/cluster.h"

namespace dtask::cli {

struct StatusRequest {
    std::string scheduler_file;
    bool json = false, ping = false;
};

Result<Said> status(const StatusRequest &request, const Env &env);

/// The same as plain lines. `node`: of the scheduler; `pings`: one a worker, or none.
std::string table(const proto::Info &info, const std::string &node,
                  const std::vector<Question> &pings = {});

} // namespace dtask::cli

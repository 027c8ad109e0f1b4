// SPDX-License-Identifier: Apache-2.0
//
// Quorum: how many workers a step's command waits for (--dtask-wait), which of them have not come,
// and what the command is told of those that have. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "lib/model/launch.h"
#include "lib/proto/codec.h"
#include "runtime/launch/environment.h"

namespace dtask::launch {

/// Workers to wait for, unless fewer are expected at all.
std::uint64_t wanted_workers(const model::LaunchSpec &spec);

/// For the user, in one line: start-up time is over, and `info` is who has come.
std::string tell_missing_workers(const model::LaunchSpec &spec, const proto::Info &info);

/// `address`: the scheduler's. The memory limit is of a whole task: where workers are of different
/// sizes, as packed's first is, the largest.
ClusterFacts facts_of(const model::LaunchSpec &spec, const proto::Info &info, std::string address);

} // namespace dtask::launch

// SPDX-License-Identifier: Apache-2.0
//
// Resources: what a worker has besides CPUs and memory, as the variable
// DTASK_RESOURCES of its task says: "gpu=2,licence=1". Amounts are whole
// numbers; what one is, is the user's affair.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace dtask::model {

constexpr const char *resources_variable = "DTASK_RESOURCES";

/// An empty text is none. `cpus` and `memory` are refused: these are the worker's own.
Result<std::map<std::string, std::uint64_t>> parse_resources(std::string_view text);

} // namespace dtask::model

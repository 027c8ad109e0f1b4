// SPDX-License-Identifier: Apache-2.0
//
// TaskName: what a user calls a task (ADR 33): `FUNCTION-NUMBER`, as messages and futures have
// it, or the number alone; with `CLIENT:` before it where clients have tasks of the same name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace dtask::model {

struct TaskName {
    std::optional<std::uint64_t> client;
    std::string function; ///< empty: of whatever function
    std::uint64_t key = 0;

    bool operator==(const TaskName &) const = default;
};

Result<TaskName> parse_task_name(std::string_view text);

} // namespace dtask::model

// SPDX-License-Identifier: Apache-2.0
//
// Distinct integer types for things that are numbered, so that a worker's
// number is never taken for a task's.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace dtask {

template <class Tag> struct Id {
    std::uint64_t value = 0;
    auto operator<=>(const Id &) const = default;
};

using TaskId = Id<struct TaskTag>;
using FunctionId = Id<struct FunctionTag>;
using WorkerId = Id<struct WorkerTag>;
using ClientId = Id<struct ClientTag>;
using ConnectionId = Id<struct ConnectionTag>;
/// Numbers the dispatches of one task: 1 for the first.
using InstanceId = Id<struct InstanceTag>;

} // namespace dtask

template <class Tag> struct std::hash<dtask::Id<Tag>> {
    std::size_t operator()(dtask::Id<Tag> id) const noexcept {
        return std::hash<std::uint64_t>{}(id.value);
    }
};

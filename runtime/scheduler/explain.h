// SPDX-License-Identifier: Apache-2.0
//
// Explain: what is to be said of one task, in words for its user: where it is, and why it does
// not run. Pure questions about the core; they may look at all tasks of a queue, and are asked by
// people. And what people may do to tasks of any client.
#pragma once

#include <string>
#include <vector>

#include "lib/model/task_name.h"
#include "runtime/scheduler/reactor.h"

namespace dtask::scheduler {

/// Each task of that name; none where there is and was none.
std::vector<proto::Explanation> explain(const Core &core, const Clock &clock,
                                        const model::TaskName &name);

/// What has become of it. Names of tasks as text.
struct Withdrawn {
    std::uint64_t count = 0;                 ///< tasks that were cancelled
    std::vector<std::string> unknown = {};   ///< no such task, or it has ended
    std::vector<std::string> ambiguous = {}; ///< of several clients
    std::vector<std::string> needed = {};    ///< of those that others need, which go on
};
/// Cancels tasks as their clients could; these are told that they were.
Withdrawn withdraw(Reactor r, const std::vector<std::string> &names);
Withdrawn withdraw_all(Reactor r);

} // namespace dtask::scheduler

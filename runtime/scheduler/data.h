// SPDX-License-Identifier: Apache-2.0
//
// Data: large values and where they are. A value is with the worker that made
// it and is copied, worker to worker, once to each node that has a task for
// it; all workers of a node read the same copy.
//
// A copy is `there`, or on its way for the tasks that wait for it. One that
// cannot be had counts as lost. With the last one the value is lost, and if
// someone needs it its task runs again.
#pragma once

#include "runtime/scheduler/reactor.h"

namespace dtask::scheduler::data {

/// Can a task that needs it run: has it ended well, and is its value somewhere?
bool available(const Task &task);

/// The copy at a worker of that node, there or on its way; null where there is none.
Copy *copy_on(Core &core, Task &task, const std::string &node);

/// The task ended with a value of `size` bytes in the store of `worker`.
void add(Core &core, TaskId id, Task &task, WorkerId worker, std::uint64_t size);

/// Makes the value come to the node of `worker`, for that dispatch of a task
/// there. True where it is there already.
bool bring(Reactor r, TaskId id, Task &task, WorkerId worker, Dispatch user);

/// The address of a worker that has it. There must be one.
const std::string &address_of(const Core &core, const Task &task);
/// Its path on the node of `worker`, where it is there.
std::string path_on(Core &core, TaskId id, Task &task, WorkerId worker);

/// Nobody needs the value: its copies are freed.
void drop(Reactor r, TaskId id, Task &task);

/// A copy is no more, or cannot be had. Tasks that waited for it go back; where
/// it was the last one and is needed, the task runs again.
void lose(Reactor r, TaskId id, WorkerId worker);

} // namespace dtask::scheduler::data

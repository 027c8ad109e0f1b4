// SPDX-License-Identifier: Apache-2.0
//
// Life: the steps of a task's life, from the moment that its function and
// inputs are known. The reactor calls them; each keeps the invariants of
// core.h, and has its effects through `comm`.
//
// A step may end other tasks: those that need what failed, and those that only
// it needed. They are worked through in lists, since a chain of tasks may be a
// million long.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/scheduler/reactor.h"

namespace dtask::scheduler::life {

/// Of a new task, or one that was given back: it can run.
void make_ready(Core &core, TaskId id, Task &task);
/// The next task to run, by priority and order; it leaves `ready`. Null where there is none.
Task *next_ready(Core &core, TaskId &id);
void leave_ready(Core &core, TaskId id, Task &task);

/// Takes an assigned task from its worker, whose place in `idle_order` is the caller's to change.
void unassign(Worker &worker, TaskId id, Task &task);

/// A new task needs the value of `input`. False where that failed.
bool add_input(Core &core, TaskId id, Task &task, TaskId input);

/// It ended well.
void finish(Reactor r, TaskId id, Task &task, std::string_view value);
/// It failed, and with it all that need its value.
void fail(Reactor r, TaskId id, Task &task, proto::Failure failure);
/// An execution was begun and lost with its process: another one, or the end.
void retry_or_fail(Reactor r, TaskId id, Task &task, proto::Failure failure);

/// Each of `tasks` has one user or its client less: those that nobody wants any
/// more are stopped and forgotten, and what only they needed.
void settle(Reactor r, std::vector<TaskId> tasks);

void drop_function_if_unused(Reactor r, FunctionId id);

/// For messages: "function-key".
std::string name_of(const Core &core, const Task &task);

// `idle_order` is keyed by load: take a worker out before its load changes and
// put it back after.
void leave_idle_order(Core &core, WorkerId id, Worker &worker);
void enter_idle_order(Core &core, WorkerId id, Worker &worker);

/// Around a change of one worker's load.
class LoadChange {
public:
    LoadChange(Core &core, WorkerId id, Worker &worker) : core_(core), id_(id), worker_(worker) {
        leave_idle_order(core_, id_, worker_);
    }
    LoadChange(const LoadChange &) = delete;
    LoadChange &operator=(const LoadChange &) = delete;
    ~LoadChange() { enter_idle_order(core_, id_, worker_); }

private:
    Core &core_;
    WorkerId id_;
    Worker &worker_;
};

} // namespace dtask::scheduler::life

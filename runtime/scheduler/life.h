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
#include <utility>
#include <vector>

#include "runtime/scheduler/reactor.h"

namespace dtask::scheduler::life {

/// All its inputs are there.
void make_ready(Core &core, TaskId id, Task &task);
/// The next task to run, by priority and order; null where there is none.
Task *next_ready(Core &core, TaskId &id);
void leave_ready(Core &core, TaskId id, Task &task);

/// A new task: what its terms say.
void set_terms(Core &core, Task &task, const proto::Terms &terms);

/// A new task needs the value of `input`. False where that failed.
bool add_input(Reactor r, TaskId id, Task &task, TaskId input);

/// The task of that dispatch, if it is still gathering its inputs; else null.
Task *gathering(Core &core, Dispatch run);
/// Takes a gathering or assigned task from its worker, where that is still there.
void take_back(Core &core, TaskId id, Task &task);
/// The same, and it is to run again: at once or when its inputs are there.
void give_back(Reactor r, TaskId id, Task &task);

/// It ended well, with this value.
void finish(Reactor r, TaskId id, Task &task, std::string_view value);
/// The same with a value of `size` bytes that stays in the store of its worker.
void finish_stored(Reactor r, TaskId id, Task &task, std::uint64_t size);
/// A value that its client was told to have is gone: it may not know yet when it names it.
void break_promise(Core &core, Task &task, const proto::Failure &failure);
/// It failed, and with it all that need its value.
void fail(Reactor r, TaskId id, Task &task, proto::Failure failure);
/// The value of one that ended well is lost, and is not to be made again.
void fail_lost(Reactor r, TaskId id, Task &task, proto::Failure failure);
/// An execution was begun and lost with its process, or for want of an input:
/// another one, or the end.
void retry_or_fail(Reactor r, TaskId id, Task &task, proto::Failure failure);
/// An execution is followed by another one, for this reason.
void tell_retry(Reactor r, const Task &task, const proto::Failure &failure);
/// The value of a task that ended well is lost and needed: it runs again, and
/// so do those whose values it needs and that are lost as well.
void run_again(Reactor r, TaskId id);

/// Each of `tasks` has one user or its client less: those that nobody wants any
/// more are stopped and forgotten, and what only they needed.
void settle(Reactor r, std::vector<TaskId> tasks);

void drop_function_if_unused(Reactor r, Function &function);

/// For messages: "function-key".
std::string name_of(const Task &task);

// `idle_order` is keyed by load: take a worker out before its load changes and
// put it back after.
void leave_idle_order(Core &core, WorkerId id, Worker &worker);
void enter_idle_order(Core &core, WorkerId id, Worker &worker);

/// Around changes of one worker's load, which may be nested: many within one cost what
/// one does.
class LoadChange {
public:
    LoadChange(Core &core, WorkerId id, Worker &worker)
        : core_(core), id_(id), worker_(worker), within_(std::exchange(worker.changing, true)) {
        if (!within_) leave_idle_order(core_, id_, worker_);
    }
    LoadChange(const LoadChange &) = delete;
    LoadChange &operator=(const LoadChange &) = delete;
    ~LoadChange() {
        if (within_) return;
        worker_.changing = false;
        enter_idle_order(core_, id_, worker_);
    }

private:
    Core &core_;
    WorkerId id_;
    Worker &worker_;
    bool within_;
};

} // namespace dtask::scheduler::life

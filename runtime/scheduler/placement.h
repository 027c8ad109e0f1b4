// SPDX-License-Identifier: Apache-2.0
//
// Placement: which worker gets how much. Pure questions about the core.
//
// A worker holds as many tasks as it runs at a time, and a short queue behind
// them so that it need not wait for the scheduler between two tasks. The queue
// is worth `queue_us` of work: deep for tasks of microseconds, a single task
// for those of seconds. What turns out to be queued in the wrong place when
// others fall idle is taken back (`donor`).
#pragma once

#include <optional>

#include "lib/base/clock.h"
#include "runtime/scheduler/core.h"

namespace dtask::scheduler::placement {

/// How many tasks of `function` the worker runs at a time: commands as its CPUs allow.
std::uint64_t slots(const Worker &worker, const Function &function);

/// How many tasks of `function` the worker should hold at most.
std::uint64_t depth(const Worker &worker, const Function &function);

/// May the worker take more, by the longest queue that any function allows?
bool may_take(const Worker &worker);

/// How many of `ready` tasks to give to the least loaded of `idle` workers at
/// once, when it has room for `room`: all of it where there is plenty, a fair
/// part where there is not, so that the last tasks are spread. Tasks that take
/// less time than their way here and back go to fewer workers, so that neither
/// the messages, one after the other, nor the tasks of one worker take longest.
/// mean_us: run time of one, below 0 where it is not known yet.
std::uint64_t share(std::uint64_t room, std::uint64_t ready, std::uint64_t idle, double mean_us);

/// How long a function that nobody has timed yet stays with few workers, in ms.
constexpr std::int64_t trial_ms = 5;
/// Whether it is with as many as suffice to time it, and they may still be quicker than
/// spreading it would be: each of thousands of workers takes a message of its own, which
/// is most of what tasks of a microsecond cost. Slow ones lose no more than `trial_ms`.
bool on_trial(const Function &function, const Clock &clock);

/// Whether more tasks of the function are under way, at all workers, than the scheduler can deal
/// with until the next are reported: of so short ones that it cannot keep the workers busy that
/// there are, more only lie farther from its processor's cache by the time that they are reported.
/// Never where none was reported lately, as when those under way are other than their mean says.
bool enough_under_way(const Core &core, const Function &function, const Clock &clock);

/// How much the worker has of a resource in all.
std::uint64_t amount_of(const Worker &worker, const std::string &resource);
/// Could the worker run tasks that need this, were it idle?
bool suits(const Worker &worker, const proto::Needs &needs);
/// The least loaded worker that suits, with room for the task and enough of each
/// resource free. Nothing where there is none now.
std::optional<WorkerId> suitable(const Core &core, const Task &task);

/// Whether values that stay with workers are among the task's inputs.
bool has_stored_inputs(const Core &core, const Task &task);

/// The worker that will begin the task first: after copying what no worker of its
/// node has, and what it has to run before. Those of nodes that have an input are
/// looked at, and the least loaded one. One without room may be the one, if it is
/// quicker to wait for it than to copy. Nothing where none of them has room.
std::optional<WorkerId> nearest(const Core &core, const Task &task);

/// A worker that holds tasks which it has not begun, while another idles: the
/// one with the most of them.
std::optional<WorkerId> donor(const Core &core);

/// Tasks at `worker` that it cannot have begun and that were not asked back yet.
std::uint64_t surplus(const Worker &worker);

} // namespace dtask::scheduler::placement

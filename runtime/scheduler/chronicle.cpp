// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/chronicle.h"

#include <algorithm>
#include <utility>

#include "runtime/scheduler/reactor.h"

namespace dtask::scheduler {

namespace {

// The task that a report speaks of, if the worker has it.
const Task *reported(const Core &core, WorkerId worker, std::uint64_t k, std::uint64_t i) {
    const Task *task = core.tasks.find(TaskId{k});
    bool same = task && task->state == Task::State::assigned && task->worker == worker &&
                task->instance == InstanceId{i};
    return same ? task : nullptr;
}

} // namespace

void record(Timeline &timeline, const Core &core, WorkerId worker, const proto::Done &done,
            std::int64_t now) {
    auto lane = timeline.lane(core.workers.at(worker).about.name);
    const Function *known = nullptr; // mostly all are of one
    std::uint8_t number = 0;
    for (std::size_t n = 0; n < done.k.size(); n++) {
        const Task *task = reported(core, worker, done.k[n], done.i[n]);
        if (!task) continue;
        if (std::exchange(known, task->function) != task->function)
            number = timeline.function(task->function->name);
        timeline.ended(now, lane, number, done.us[n], done.raised[n] != 0);
    }
}

void record(Timeline &timeline, const Core &core, WorkerId worker, const proto::Failure &failure,
            std::int64_t now) {
    const Task *task = reported(core, worker, failure.k, failure.i);
    if (!task) return;
    // What its worker said last of how long it had run; 0 where it has begun since.
    const Worker &where = core.workers.at(worker);
    auto us = running_us(where, TaskId{failure.k}, *task, core.started_us + now);
    timeline.ended(now, timeline.lane(where.about.name), timeline.function(task->function->name),
                   static_cast<std::uint64_t>(std::max<std::int64_t>(us, 0)), true);
}

Timeline::Sample sample_of(const Core &core) {
    Timeline::Sample sample;
    sample.done = core.done;
    sample.failed = core.failed;
    sample.workers = core.workers.size();
    for (const auto &[id, worker] : core.workers) {
        std::uint64_t running =
            std::min<std::uint64_t>(worker.assigned.size(), worker.slots + worker.blocked);
        sample.running += running;
        sample.memory += worker.stat.memory;
        sample.cpu_us += worker.stat.cpu_us;
    }
    sample.waiting = core.tasks.size() - core.ended - sample.running;
    sample.tasks = sample.done + sample.failed + sample.waiting + sample.running;
    return sample;
}

} // namespace dtask::scheduler

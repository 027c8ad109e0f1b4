// SPDX-License-Identifier: Apache-2.0
// What whoever asks is told of the cluster's state.
#include "runtime/scheduler/reactor.h"

#include <algorithm>
#include <utility>

#include "runtime/scheduler/life.h"

namespace dtask::scheduler {

namespace {

constexpr std::size_t most_tasks = 16;                    // of a worker
constexpr std::uint64_t most_us = std::uint64_t{1} << 53; // whatever a worker says

std::uint64_t milliseconds(std::int64_t us) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(us, 0) / 1'000);
}

// The first ones that it holds are those that run. How long they have the worker itself says,
// once a second; of one that began since, nothing is known yet.
std::vector<proto::TaskInfo> running_tasks(const Core &core, const Worker &worker,
                                           std::uint64_t running, std::int64_t now_us) {
    std::vector<proto::TaskInfo> tasks;
    for (auto id : worker.assigned) {
        if (tasks.size() >= std::min<std::uint64_t>(running, most_tasks)) break;
        const Task *task = core.tasks.find(id);
        if (!task || task->state != Task::State::assigned) continue;
        tasks.push_back({life::name_of(*task), task->client.value, task->key,
                         milliseconds(running_us(worker, id, *task, now_us))});
    }
    return tasks;
}

proto::WorkerInfo about(const Core &core, const Worker &worker, std::int64_t now_us) {
    proto::WorkerInfo info;
    info.about = worker.about;
    info.memory = worker.stat.memory;
    info.peak = std::max(worker.stat.peak, worker.stat.memory);
    info.cpu = worker.cpu;
    info.cpu_us = worker.stat.cpu_us;
    info.heard_ms = milliseconds(now_us - worker.heard_us);
    info.running = std::min<std::uint64_t>(worker.assigned.size(), worker.slots + worker.blocked);
    info.queued = worker.assigned.size() - info.running;
    info.done = worker.done;
    info.tasks = running_tasks(core, worker, info.running, now_us);
    return info;
}

} // namespace

std::int64_t running_us(const Worker &worker, TaskId id, const Task &task, std::int64_t now_us) {
    const auto &stat = worker.stat;
    for (std::size_t n = 0; n < stat.k.size(); n++)
        if (stat.k[n] == id.value && stat.i[n] == task.instance.value)
            return static_cast<std::int64_t>(std::min(stat.us[n], most_us)) + now_us -
                   worker.stat_us;
    return 0;
}

proto::Info info(const Core &core, const Clock &clock) {
    auto now = clock.now_us();
    proto::Info info;
    info.id = core.settings.id;
    info.engine = core.settings.engine;
    info.address = core.settings.address;
    info.began_s = static_cast<std::uint64_t>(core.settings.began_s);
    info.uptime_ms = milliseconds(now - core.started_us);
    info.uptime_s = info.uptime_ms / 1'000;
    info.expected = worker_count(core).expected;
    info.clients = core.clients.size();
    info.done = core.done;
    info.failed = core.failed;
    info.retried = core.retried;
    info.busy_us = core.busy_us;
    auto recent = core.history.recent(now, core.done);
    info.recent_ms = milliseconds(recent.us);
    info.recent_done = recent.done;
    for (const auto &[id, worker] : core.workers) info.workers.push_back(about(core, worker, now));
    std::sort(info.workers.begin(), info.workers.end(),
              [](const auto &a, const auto &b) { return a.about.task < b.about.task; });
    for (const auto &worker : info.workers) info.running += worker.running;
    info.waiting = core.tasks.size() - core.ended - info.running;
    const auto &failures = core.history.failures();
    auto first = failures.size() - std::min(failures.size(), proto::Info::most_failures);
    for (auto n = first; n < failures.size(); n++) {
        const auto &f = failures[n];
        info.failures.push_back(
            {{f.name, f.client.value, f.key, milliseconds(f.at_us - core.started_us)},
             f.kind,
             f.message,
             f.worker,
             f.node,
             f.tries});
    }
    return info;
}

} // namespace dtask::scheduler

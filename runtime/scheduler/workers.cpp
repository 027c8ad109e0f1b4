// SPDX-License-Identifier: Apache-2.0
// The reactor's events that come from workers.
#include "runtime/scheduler/reactor.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "lib/base/strings.h"
#include "lib/proto/frame.h"
#include "runtime/scheduler/data.h"
#include "runtime/scheduler/life.h"
#include "runtime/scheduler/placement.h"

namespace dtask::scheduler {

namespace {

using State = Task::State;

constexpr std::int64_t longest_gap_us = 5'000'000; // between ticks, unless we were stopped

// The task if the worker has it, assigned or gathering, else null.
Task *held_by(Core &core, WorkerId worker, TaskId id) {
    Task *task = core.tasks.find(id);
    bool held = task && (task->state == State::assigned || task->state == State::gathering);
    return held && task->worker == worker ? task : nullptr;
}

// Whether the worker has the task's value, or is making it.
bool keeps(Core &core, WorkerId worker, TaskId id) {
    return held_by(core, worker, id) || core.workers.at(worker).holds.contains(id);
}

// The assigned task that a report speaks of, or null where the report is stale.
Task *reported(Core &core, WorkerId worker, TaskId id, InstanceId instance) {
    Task *task = held_by(core, worker, id);
    return task && task->instance == instance ? task : nullptr;
}

void learn_run_time(Function &function, std::uint64_t us) {
    auto &mean = function.mean_us;
    constexpr double weight = 0.125;
    double sample = static_cast<double>(us);
    mean = mean < 0 ? sample : mean + weight * (sample - mean);
}

// The node of that worker has no room for the value, which is as good as ever where it is: those
// that were to run there with it go where it is, if they may, or fail after some tries.
void crowd_out(Reactor r, TaskId data_id, WorkerId id, const std::string &why) {
    const auto &about = r.core.workers.at(id).about;
    Task &data = r.core.tasks.at(data_id);
    auto copy = std::ranges::find(data.copies, id, &Copy::worker);
    proto::Failure failure;
    failure.kind = proto::FailureKind::full;
    failure.worker = about.name;
    failure.node = about.node;
    auto reason = ": no room for the " + std::to_string(data.size) + " bytes of its input " +
                  life::name_of(data) + ": " + why;
    for (auto user : std::exchange(copy->users, {})) {
        Task *task = life::gathering(r.core, user);
        if (!task) continue;
        task->crowded_out = true;
        failure.message = life::name_of(*task) + reason;
        life::retry_or_fail(r, user.task, *task, failure);
    }
    // Who comes for it again has another copy sent, if there is room by then.
    data::lose(r, data_id, id);
}

} // namespace

WorkerId on_new_worker(Reactor r, proto::Register about) {
    WorkerId id{++r.core.last_id};
    auto &worker = r.core.workers[id];
    r.core.unfit.erase(about.task);
    r.core.seen.insert(about.task);
    worker.about = std::move(about);
    worker.slots = worker.about.concurrency;
    r.core.nodes[worker.about.node].insert(id);
    worker.heard_us = r.clock.now_us();
    r.core.alone_us.reset();
    life::enter_idle_order(r.core, id, worker);
    r.comm.workers_changed(worker_count(r.core));
    return id;
}

void on_worker_lost(Reactor r, WorkerId id, std::string_view why) {
    auto found = r.core.workers.find(id);
    if (found == r.core.workers.end()) return;
    Worker worker = std::move(found->second);
    // Its key there is the load before the move.
    life::leave_idle_order(r.core, id, worker);
    r.core.workers.erase(found);
    for (auto task_id : worker.assigned) r.core.tasks.at(task_id).function->under_way--;
    if (r.core.workers.empty()) r.core.alone_us = r.clock.now_us();
    if (worker.answering) r.core.answering--;
    for (auto &[number, function] : r.core.functions) function.holders.erase(id);
    auto node = r.core.nodes.find(worker.about.node);
    node->second.erase(id);
    if (node->second.empty()) r.core.nodes.erase(node);
    for (auto data_id : worker.holds) data::lose(r, data_id, id);

    // It runs in the order of dispatch: only the first ones can have begun.
    std::uint64_t begun = worker.slots + worker.blocked;
    std::vector<TaskId> rest;
    for (auto task_id : worker.assigned) {
        Task *task = held_by(r.core, id, task_id);
        if (begun == 0 || (task && task->state == State::gathering)) {
            rest.push_back(task_id);
            continue;
        }
        begun--;
        if (!task) continue; // nobody wants it since one before it failed
        proto::Failure failure;
        failure.kind = proto::FailureKind::lost;
        failure.worker = worker.about.name;
        failure.node = worker.about.node;
        failure.message = "worker " + worker.about.name + " on " + worker.about.node +
                          " was lost: " + std::string(why);
        life::retry_or_fail(r, task_id, *task, std::move(failure));
    }
    for (auto task_id : rest)
        if (Task *task = held_by(r.core, id, task_id)) life::give_back(r, task_id, *task);
    r.comm.workers_changed(worker_count(r.core));
}

void on_unfit(Reactor r, proto::Unfit unfit) {
    r.core.seen.insert(unfit.task);
    r.core.unfit.insert_or_assign(unfit.task, std::move(unfit));
    r.comm.workers_changed(worker_count(r.core));
}

Result<void> on_done(Reactor r, WorkerId id, const proto::Done &done) {
    auto values = proto::slices(done.payload, done.len);
    if (!values) return fail_from(std::move(values));
    auto &worker = r.core.workers.at(id);
    worker.heard_us = r.clock.now_us();
    life::LoadChange change(r.core, id, worker); // one for all of them
    for (std::size_t n = 0; n < done.k.size(); n++) {
        TaskId task_id{done.k[n]};
        Task *task = reported(r.core, id, task_id, InstanceId{done.i[n]});
        bool stored = !done.stored.empty() && done.stored[n] > 0;
        if (!task) {
            // Nobody wants its value, unless it is being made there once more.
            if (stored && !keeps(r.core, id, task_id)) r.comm.free(id, task_id);
            continue;
        }
        life::take_back(r.core, task_id, *task);
        worker.done++;
        r.core.busy_us += done.us[n];
        task->function->reported_us = worker.heard_us;
        learn_run_time(*task->function, done.us[n]);
        if (done.raised[n]) {
            proto::Failure failure;
            failure.kind = proto::FailureKind::raised;
            failure.worker = worker.about.name;
            failure.node = worker.about.node;
            failure.payload = (*values)[n];
            if (task->retries == 0) {
                life::fail(r, task_id, *task, std::move(failure));
                continue;
            }
            task->retries--;
            life::tell_retry(r, *task, failure);
            life::give_back(r, task_id, *task);
            continue;
        }
        if (stored)
            life::finish_stored(r, task_id, *task, done.stored[n]);
        else
            life::finish(r, task_id, *task, (*values)[n]);
    }
    return {};
}

Result<void> on_failed(Reactor r, WorkerId id, proto::Failure failure) {
    auto &worker = r.core.workers.at(id);
    worker.heard_us = r.clock.now_us();
    TaskId task_id{failure.k};
    Task *task = reported(r.core, id, task_id, InstanceId{failure.i});
    if (!task) return {};
    life::take_back(r.core, task_id, *task);
    failure.tries = 0; // ours to count
    failure.worker = worker.about.name;
    failure.node = worker.about.node;
    failure.message = life::name_of(*task) + ": " + failure.message;
    if (failure.kind == proto::FailureKind::missing) failure.kind = proto::FailureKind::lost;
    if (failure.kind == proto::FailureKind::crashed || failure.kind == proto::FailureKind::lost) {
        life::retry_or_fail(r, task_id, *task, std::move(failure));
    } else if (task->retries > 0 && (failure.kind == proto::FailureKind::memory ||
                                     failure.kind == proto::FailureKind::timeout)) {
        task->retries--;
        life::tell_retry(r, *task, failure);
        life::give_back(r, task_id, *task);
    } else {
        task->tries++;
        life::fail(r, task_id, *task, std::move(failure));
    }
    return {};
}

void on_retracted(Reactor r, WorkerId id, const proto::Refs &refs) {
    auto &worker = r.core.workers.at(id);
    if (std::exchange(worker.answering, false)) r.core.answering--;
    for (std::size_t n = 0; n < refs.k.size(); n++) {
        TaskId task_id{refs.k[n]};
        Task *task = reported(r.core, id, task_id, InstanceId{refs.i[n]});
        if (!task) continue;
        // Else it would be where it was if its worker goes, and idle ones could not ask for it.
        task->stays = placement::has_stored_inputs(r.core, *task);
        life::give_back(r, task_id, *task);
    }
    // The others that it was asked for have begun: they are not asked for again.
}

void on_fetched(Reactor r, WorkerId id, TaskId data_id) {
    r.core.workers.at(id).heard_us = r.clock.now_us();
    Task *data = r.core.tasks.find(data_id);
    if (!data) return;
    auto copy = std::ranges::find(data->copies, id, &Copy::worker);
    if (copy == data->copies.end()) return; // it was freed meanwhile
    copy->there = true;
    for (auto user : std::exchange(copy->users, {})) {
        Task *task = life::gathering(r.core, user);
        if (task && --task->missing == 0) send_run(r, user.task, *task);
    }
}

// The copy at `source` cannot be had. The last one of them is made anew, but
// not for ever.
void lose_source(Reactor r, TaskId id, Task &task, WorkerId source, const std::string &why) {
    auto copy = std::ranges::find(task.copies, source, &Copy::worker);
    if (copy == task.copies.end() || !copy->there) return; // known
    r.comm.free(source, id);
    bool last = std::ranges::count(task.copies, true, &Copy::there) == 1;
    if (!last || ++task.tries < r.core.settings.max_tries) return data::lose(r, id, source);
    proto::Failure failure;
    failure.kind = proto::FailureKind::lost;
    failure.message = "the value of " + life::name_of(task) + " was lost: " + why;
    life::fail_lost(r, id, task, std::move(failure));
}

void on_unfetched(Reactor r, WorkerId id, const proto::Unfetched &unfetched) {
    r.core.workers.at(id).heard_us = r.clock.now_us();
    TaskId data_id{unfetched.data};
    Task *found = r.core.tasks.find(data_id);
    if (!found) return;
    Task &task = *found;
    auto copy = std::ranges::find(task.copies, id, &Copy::worker);
    if (copy == task.copies.end() || copy->there) return;
    if (unfetched.full) return crowd_out(r, data_id, id, unfetched.message);
    auto source = copy->source;
    data::lose(r, data_id, id);
    lose_source(r, data_id, task, source,
                "worker " + r.core.workers.at(id).about.name +
                    " could not copy it: " + unfetched.message);
}

void on_output(Reactor r, WorkerId id, proto::Output output) {
    r.core.workers.at(id).heard_us = r.clock.now_us();
    Task *task = reported(r.core, id, TaskId{output.k}, InstanceId{output.i});
    if (!task || !task->wanted) return;
    output.k = task->key;
    r.comm.output(task->client, output);
}

void on_stat(Reactor r, WorkerId id, proto::Stat stat) {
    auto &worker = r.core.workers.at(id);
    auto now = worker.heard_us = r.clock.now_us();
    auto before = std::exchange(worker.stat_us, now);
    auto spent = stat.cpu_us - std::min(worker.stat.cpu_us, stat.cpu_us);
    if (before > 0 && now > before)
        worker.cpu = 100 * spent / static_cast<std::uint64_t>(now - before);
    worker.stat = std::move(stat);
}

void on_blocked(Reactor r, WorkerId id, std::uint64_t count) {
    auto &worker = r.core.workers.at(id);
    worker.heard_us = r.clock.now_us();
    life::LoadChange change(r.core, id, worker);
    worker.blocked = count;
}

void on_tick(Reactor r) {
    std::vector<WorkerId> silent;
    auto limit = r.core.settings.silence_us, now = r.clock.now_us();
    // Where we were stopped ourselves, as a suspended job is, nobody could be heard.
    auto before = std::exchange(r.core.ticked_us, now);
    r.core.history.tick(now, r.core.done);
    if (before && now - *before > longest_gap_us) r.core.awake_us = now;
    for (const auto &[id, worker] : r.core.workers)
        if (now - std::max(worker.heard_us, r.core.awake_us) > limit) silent.push_back(id);
    for (auto id : silent) {
        r.comm.drop_worker(id);
        on_worker_lost(r, id,
                       "nothing was heard of it for " + std::to_string(limit / 1'000'000) + " s");
    }
}

} // namespace dtask::scheduler

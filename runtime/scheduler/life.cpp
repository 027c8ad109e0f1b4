// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/life.h"

#include <algorithm>
#include <utility>

#include "runtime/scheduler/placement.h"

namespace dtask::scheduler::life {

namespace {

using State = Task::State;

// Gives up a task that has not ended and that nobody wants.
void stop(Reactor r, TaskId id, Task &task) {
    if (task.state == State::ready) leave_ready(r.core, id, task);
    if (task.state != State::assigned) return;
    auto worker = r.core.workers.find(task.worker);
    if (worker == r.core.workers.end()) return; // it is just being lost
    r.comm.kill(task.worker, id, task.instance);
    LoadChange change(r.core, worker->first, worker->second);
    unassign(worker->second, id, task);
}

// What has ended, or never will, needs its inputs no more.
void release_inputs(Core &core, Task &task, std::vector<TaskId> &released) {
    for (auto input : task.inputs) {
        core.tasks.at(input).users--;
        released.push_back(input);
    }
    std::vector<TaskId>().swap(task.inputs);
    std::string().swap(task.args);
    task.missing = 0;
}

void erase(Reactor r, TaskId id, const Task &task) {
    FunctionId function = task.function;
    if (auto client = r.core.clients.find(task.client); client != r.core.clients.end())
        client->second.tasks.erase(task.key);
    if (task.failed) r.core.failures.erase(id);
    r.core.tasks.erase(id);
    r.core.functions.at(function).tasks--;
    drop_function_if_unused(r, function);
}

} // namespace

void make_ready(Core &core, TaskId id, Task &task) {
    task.state = State::ready;
    task.asked = false;
    core.ready[task.priority].insert(id);
    core.ready_count++;
}

void leave_ready(Core &core, TaskId id, Task &task) {
    auto queue = core.ready.find(task.priority);
    queue->second.erase(id);
    if (queue->second.empty()) core.ready.erase(queue);
    core.ready_count--;
}

Task *next_ready(Core &core, TaskId &id) {
    if (core.ready.empty()) return nullptr;
    id = *core.ready.begin()->second.begin();
    return &core.tasks.at(id);
}

// Workers report in about the order of dispatch, so this looks at few.
void unassign(Worker &worker, TaskId id, Task &task) {
    auto found = std::find(worker.assigned.begin(), worker.assigned.end(), id);
    if (found != worker.assigned.end()) worker.assigned.erase(found);
    if (std::exchange(task.asked, false)) worker.asked--;
}

bool add_input(Core &core, TaskId id, Task &task, TaskId input) {
    Task &source = core.tasks.at(input);
    if (source.failed) return false;
    task.inputs.push_back(input);
    source.users++;
    if (source.state == State::ended) return true;
    source.heirs.push_back(id);
    task.missing++;
    return true;
}

void finish(Reactor r, TaskId id, Task &task, std::string_view value) {
    task.state = State::ended;
    r.core.done++;
    if (std::exchange(task.wanted, false)) r.comm.result(task.client, task.key, value);
    for (auto heir : std::exchange(task.heirs, {})) {
        auto found = r.core.tasks.find(heir);
        // It may have been given up, or failed by another input.
        if (found == r.core.tasks.end() || found->second.state != State::waiting) continue;
        if (--found->second.missing == 0) make_ready(r.core, heir, found->second);
    }
    std::vector<TaskId> released{id};
    release_inputs(r.core, task, released);
    if (task.users > 0) task.value = value;
    settle(r, std::move(released));
}

void fail(Reactor r, TaskId first, Task &culprit, proto::Failure failure) {
    failure.tries = culprit.tries;
    std::vector<TaskId> failing{first}, released;
    while (!failing.empty()) {
        auto id = failing.back();
        failing.pop_back();
        auto found = r.core.tasks.find(id);
        if (found == r.core.tasks.end() || found->second.state == State::ended) continue;
        Task &task = found->second;
        if (task.state == State::ready) leave_ready(r.core, id, task);
        task.state = State::ended;
        task.failed = true;
        r.core.failed++;
        failure.k = task.key;
        if (std::exchange(task.wanted, false)) r.comm.failed(task.client, failure);
        if (task.users > 0) r.core.failures.emplace(id, failure);
        for (auto heir : std::exchange(task.heirs, {})) failing.push_back(heir);
        released.push_back(id);
        release_inputs(r.core, task, released);
    }
    settle(r, std::move(released));
}

void retry_or_fail(Reactor r, TaskId id, Task &task, proto::Failure failure) {
    task.tries++;
    if (task.tries < r.core.settings.max_tries) return make_ready(r.core, id, task);
    fail(r, id, task, std::move(failure));
}

void settle(Reactor r, std::vector<TaskId> tasks) {
    while (!tasks.empty()) {
        auto id = tasks.back();
        tasks.pop_back();
        auto found = r.core.tasks.find(id);
        if (found == r.core.tasks.end()) continue;
        Task &task = found->second;
        if (task.wanted || task.users > 0) continue;
        if (task.state != State::ended) stop(r, id, task);
        release_inputs(r.core, task, tasks);
        erase(r, id, task);
    }
}

void drop_function_if_unused(Reactor r, FunctionId id) {
    auto found = r.core.functions.find(id);
    if (found == r.core.functions.end() || !found->second.orphan || found->second.tasks > 0) return;
    for (auto holder : found->second.holders) r.comm.forget(holder, id);
    r.core.functions.erase(found);
}

std::string name_of(const Core &core, const Task &task) {
    auto function = core.functions.find(task.function);
    std::string name = function == core.functions.end() ? "task" : function->second.name;
    return name + "-" + std::to_string(task.key);
}

void leave_idle_order(Core &core, WorkerId id, Worker &worker) {
    if (worker.in_idle_order) core.idle_order.erase({worker.assigned.size(), id});
    worker.in_idle_order = false;
}

void enter_idle_order(Core &core, WorkerId id, Worker &worker) {
    if (worker.in_idle_order || !placement::may_take(worker)) return;
    core.idle_order.insert({worker.assigned.size(), id});
    worker.in_idle_order = true;
}

} // namespace dtask::scheduler::life

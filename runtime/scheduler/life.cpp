// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/life.h"

#include <algorithm>
#include <set>
#include <unordered_set>
#include <utility>

#include "runtime/scheduler/data.h"
#include "runtime/scheduler/placement.h"

namespace dtask::scheduler::life {

namespace {

using State = Task::State;

bool is_at_worker(const Task &task) {
    return task.state == State::gathering || task.state == State::assigned;
}

// Gives up a task that has not ended and that nobody wants.
void stop(Reactor r, TaskId id, Task &task) {
    if (task.state == State::ready) leave_ready(r.core, id, task);
    if (!is_at_worker(task)) return;
    bool sent = task.state == State::assigned && r.core.workers.contains(task.worker);
    if (sent) r.comm.kill(task.worker, id, task.instance);
    take_back(r.core, id, task);
}

// What has ended, or never will, needs its inputs no more.
void release_inputs(Core &core, Task &task, std::vector<TaskId> &released) {
    for (auto input : task.inputs) {
        core.tasks.at(input).users--;
        released.push_back(input);
    }
    task.inputs.clear();
    task.body.clear();
    task.missing = 0;
}

// What has ended but may have to run again needs their records only.
void keep_records(Core &core, Task &task, std::vector<TaskId> &released) {
    for (auto input : task.inputs) {
        Task &source = core.tasks.at(input);
        source.users--;
        source.records++;
        released.push_back(input);
    }
    task.missing = 0;
}

Queue &queue_of(Core &core, const Task &task) {
    return task.restricted ? task.restricted->ready : core.ready;
}

std::uint64_t &count_of(Core &core, const Task &task) {
    return task.restricted ? core.restricted_count : core.ready_count;
}

void erase(Reactor r, TaskId id, const Task &task) {
    Function &function = *task.function;
    if (task.restricted && --task.restricted->tasks == 0)
        r.core.restricted.erase(r.core.restricted.find(*task.restricted->needs));
    if (auto client = r.core.clients.find(task.client); client != r.core.clients.end())
        client->second.tasks.erase(task.key);
    if (task.failed) r.core.failures.erase(id);
    if (task.state == State::ended) r.core.ended--;
    r.core.tasks.erase(id);
    function.tasks--;
    drop_function_if_unused(r, function);
}

void end(Core &core, Task &task) {
    task.state = State::ended;
    core.ended++;
}

void add_heir(Task &source, TaskId id) {
    if (std::ranges::find(source.heirs, id) == source.heirs.end()) source.heirs.push_back(id);
}

// It is to run: when its inputs are there, at once if they are, or never.
void await_inputs(Reactor r, TaskId id, Task &task) {
    task.state = State::waiting;
    task.missing = 0;
    std::unordered_set<TaskId> inputs(task.inputs.begin(), task.inputs.end());
    for (auto input : inputs) {
        Task &source = r.core.tasks.at(input);
        if (source.failed) return fail(r, id, task, proto::Failure(r.core.failures.at(input)));
        bool there = data::available(source);
        if (!there || source.size > 0) add_heir(source, id);
        if (!there) task.missing++;
    }
    if (task.missing == 0) make_ready(r.core, id, task);
}

// Those that wait for nothing else can run.
void wake_heirs(Core &core, const Task &task) {
    for (auto heir : task.heirs) {
        Task *waiting = core.tasks.find(heir);
        // It may have been given up, or failed by another input.
        if (!waiting || waiting->state != State::waiting) continue;
        if (--waiting->missing == 0) make_ready(core, heir, *waiting);
    }
}

Failed remembered(Reactor r, const Task &task, const proto::Failure &failure) {
    auto failed = describe(name_of(task), task.function->cpus > 0, failure);
    failed.client = task.client;
    failed.key = task.key;
    failed.at_us = r.clock.now_us();
    return failed;
}

} // namespace

void make_ready(Core &core, TaskId id, Task &task) {
    task.state = State::ready;
    task.asked = false;
    queue_of(core, task)[task.priority].insert(id);
    count_of(core, task)++;
}

void leave_ready(Core &core, TaskId id, Task &task) {
    auto &all = queue_of(core, task);
    auto queue = all.find(task.priority);
    queue->second.erase(id);
    if (queue->second.empty()) all.erase(queue);
    count_of(core, task)--;
}

Task *next_ready(Core &core, TaskId &id) {
    if (core.ready.empty()) return nullptr;
    id = core.ready.begin()->second.first();
    return &core.tasks.at(id);
}

void set_terms(Core &core, Task &task, const proto::Terms &terms) {
    task.priority = terms.priority;
    task.retries = static_cast<std::uint16_t>(std::min<std::uint64_t>(terms.retries, 1000));
    task.timeout_ms =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(terms.timeout_ms, UINT32_MAX));
    if (terms.needs.empty()) return;
    auto entry = core.restricted.try_emplace(terms.needs).first;
    task.restricted = &entry->second;
    task.restricted->needs = &entry->first;
    task.restricted->tasks++;
}

// Tasks of a graph are named one after the other, so a task that has an input
// twice is the last heir of it.
bool add_input(Reactor r, TaskId id, Task &task, TaskId input) {
    Task &source = r.core.tasks.at(input);
    source.users++;
    // A record whose value is gone may still be named.
    if (source.state == State::ended && !data::available(source)) run_again(r, input);
    if (source.failed) {
        source.users--;
        return false;
    }
    task.inputs.push_back(input);
    bool here = source.state == State::ended && source.size == 0;
    bool known = !source.heirs.empty() && source.heirs.back() == id;
    if (here || known) return true;
    source.heirs.push_back(id);
    if (!data::available(source)) task.missing++;
    return true;
}

Task *gathering(Core &core, Dispatch run) {
    Task *task = core.tasks.find(run.task);
    bool same = task && task->state == State::gathering && task->instance == run.instance;
    return same ? task : nullptr;
}

// Workers report in about the order of dispatch, so this looks at few.
void take_back(Core &core, TaskId id, Task &task) {
    auto found = core.workers.find(task.worker);
    if (found == core.workers.end()) return;
    Worker &worker = found->second;
    LoadChange change(core, task.worker, worker);
    auto place = std::ranges::find(worker.assigned, id);
    if (place == worker.assigned.end()) return;
    worker.assigned.erase(place);
    task.function->under_way--;
    if (task.restricted)
        for (const auto &[name, amount] : task.restricted->needs->resources)
            worker.used[name] -= amount;
    if (std::exchange(task.asked, false)) worker.asked--;
}

void give_back(Reactor r, TaskId id, Task &task) {
    take_back(r.core, id, task);
    task.asked = false;
    await_inputs(r, id, task);
}

void finish(Reactor r, TaskId id, Task &task, std::string_view value) {
    end(r.core, task);
    r.core.done++;
    if (std::exchange(task.wanted, false)) {
        task.kept = task.promised; // a large one before, that was lost
        if (task.kept) task.users++;
        r.comm.result(task.client, task.key, value);
    }
    wake_heirs(r.core, task);
    task.heirs.clear(); // the value cannot be lost
    if (task.inputs.empty() && task.users + task.records == 0) return erase(r, id, task);
    std::vector<TaskId> released{id};
    release_inputs(r.core, task, released);
    if (task.users + task.records > 0) task.body = Bytes(value);
    settle(r, std::move(released));
}

void finish_stored(Reactor r, TaskId id, Task &task, std::uint64_t size) {
    end(r.core, task);
    r.core.done++;
    data::add(r.core, id, task, task.worker, size);
    if (std::exchange(task.wanted, false)) {
        task.kept = task.promised = true;
        task.users++;
        r.comm.stored(task.client, task.key, id, size, data::address_of(r.core, task));
    }
    wake_heirs(r.core, task);
    std::vector<TaskId> released{id};
    keep_records(r.core, task, released);
    settle(r, std::move(released));
}

void break_promise(Core &core, Task &task, const proto::Failure &failure) {
    if (!std::exchange(task.promised, false)) return;
    core.clients.at(task.client).broken_promises.insert_or_assign(task.key, failure);
}

void fail(Reactor r, TaskId first, Task &culprit, proto::Failure failure) {
    // A failure that is inherited has the tries of its first task.
    failure.tries = std::max<std::uint64_t>(failure.tries, culprit.tries);
    std::vector<TaskId> failing{first}, released;
    while (!failing.empty()) {
        auto id = failing.back();
        failing.pop_back();
        Task *found = r.core.tasks.find(id);
        if (!found || found->state == State::ended) continue;
        Task &task = *found;
        // One that runs has the value that could not be had again.
        if (id != first && task.state == State::assigned) continue;
        if (task.state == State::ready) leave_ready(r.core, id, task);
        if (task.state == State::gathering) take_back(r.core, id, task);
        end(r.core, task);
        task.failed = true;
        r.core.failed++;
        failure.k = task.key;
        if (id == first) r.core.history.add(remembered(r, task, failure));
        break_promise(r.core, task, failure);
        if (std::exchange(task.wanted, false)) r.comm.failed(task.client, failure);
        if (task.users + task.records > 0) r.core.failures.emplace(id, failure);
        for (auto heir : std::exchange(task.heirs, {})) failing.push_back(heir);
        released.push_back(id);
        release_inputs(r.core, task, released);
    }
    settle(r, std::move(released));
}

void fail_lost(Reactor r, TaskId id, Task &task, proto::Failure failure) {
    data::drop(r, id, task);
    run_again(r, id);
    if (Task *found = r.core.tasks.find(id)) fail(r, id, *found, std::move(failure));
}

void retry_or_fail(Reactor r, TaskId id, Task &task, proto::Failure failure) {
    task.tries++;
    if (task.tries < r.core.settings.max_tries) {
        tell_retry(r, task, failure);
        return give_back(r, id, task);
    }
    fail(r, id, task, std::move(failure));
}

void tell_retry(Reactor r, const Task &task, const proto::Failure &failure) {
    r.core.retried++;
    r.core.history.add_retry(remembered(r, task, failure));
}

void run_again(Reactor r, TaskId first) {
    std::vector<TaskId> again{first};
    std::set<std::pair<TaskId, TaskId>> counted; // (task, input that it misses)
    while (!again.empty()) {
        auto id = again.back();
        again.pop_back();
        Task *wanted = r.core.tasks.find(id);
        if (!wanted) continue; // whoever was to have it has failed for another input
        Task &task = *wanted;
        if (task.state != State::ended || task.failed || data::available(task)) continue;
        data::drop(r, id, task); // copies on their way from what is lost
        task.state = State::waiting;
        r.core.ended--;
        task.size = 0;
        task.stays = false;
        if (std::exchange(task.kept, false)) {
            task.users--;
            task.wanted = true; // to be told where it is then
        }
        const proto::Failure *failure = nullptr;
        for (auto input : task.inputs) {
            Task &source = r.core.tasks.at(input);
            source.records--;
            source.users++;
            if (source.failed) failure = &r.core.failures.at(input);
            if (source.failed || data::available(source)) continue;
            add_heir(source, id);
            if (!counted.insert({id, input}).second) continue;
            task.missing++;
            again.push_back(input);
        }
        // Those that have begun may have opened it already.
        for (auto heir : std::vector<TaskId>(task.heirs.begin(), task.heirs.end())) {
            Task *found = r.core.tasks.find(heir);
            if (!found) continue;
            Task &other = *found;
            if (other.state == State::waiting && counted.insert({heir, id}).second) {
                other.missing++;
            } else if (other.state == State::ready) {
                leave_ready(r.core, heir, other);
                await_inputs(r, heir, other);
                counted.insert({heir, id});
            } else if (other.state == State::gathering) {
                give_back(r, heir, other);
                counted.insert({heir, id});
            }
        }
        if (failure)
            fail(r, id, task, proto::Failure(*failure));
        else if (task.missing == 0)
            make_ready(r.core, id, task);
    }
}

void settle(Reactor r, std::vector<TaskId> tasks) {
    while (!tasks.empty()) {
        auto id = tasks.back();
        tasks.pop_back();
        Task *found = r.core.tasks.find(id);
        if (!found) continue;
        Task &task = *found;
        if (task.wanted || task.users > 0) continue;
        if (task.state != State::ended) {
            stop(r, id, task);
            if (task.records > 0) { // as if it had ended and its value were lost
                end(r.core, task);
                task.size = 1;
                keep_records(r.core, task, tasks);
                continue;
            }
            release_inputs(r.core, task, tasks);
        }
        data::drop(r, id, task);
        if (task.records > 0) continue;
        for (auto input : task.inputs) {
            r.core.tasks.at(input).records--;
            tasks.push_back(input);
        }
        erase(r, id, task);
    }
}

void drop_function_if_unused(Reactor r, Function &function) {
    if (!function.orphan || function.tasks > 0) return;
    for (auto holder : function.holders) r.comm.forget(holder, function.id);
    r.core.functions.erase(function.id);
}

std::string name_of(const Task &task) {
    return task.function->name + "-" + std::to_string(task.key);
}

void leave_idle_order(Core &core, WorkerId id, Worker &worker) {
    if (std::exchange(worker.in_idle_order, false)) core.idle_order.erase({worker.load(), id});
    if (std::exchange(worker.over, false)) core.over--;
}

void enter_idle_order(Core &core, WorkerId id, Worker &worker) {
    if (worker.changing) return;
    if (!worker.over && worker.load() > worker.about.concurrency) {
        worker.over = true;
        core.over++;
    }
    if (worker.in_idle_order || !placement::may_take(worker)) return;
    core.idle_order.insert({worker.load(), id});
    worker.in_idle_order = true;
}

} // namespace dtask::scheduler::life

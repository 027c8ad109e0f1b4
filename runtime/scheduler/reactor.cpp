// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/reactor.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "lib/base/strings.h"
#include "lib/proto/frame.h"
#include "runtime/scheduler/placement.h"

namespace dtask::scheduler {

namespace {

template <class Tag> Id<Tag> fresh(Core &core) { return Id<Tag>{++core.last_id}; }

// `idle_order` is keyed by load: take a worker out before its load changes and
// put it back after.
void leave_idle_order(Core &core, WorkerId id, Worker &worker) {
    if (worker.in_idle_order) core.idle_order.erase({worker.assigned.size(), id});
    worker.in_idle_order = false;
}

void enter_idle_order(Core &core, WorkerId id, Worker &worker) {
    if (worker.in_idle_order || !placement::may_take(worker)) return;
    core.idle_order.insert({worker.assigned.size(), id});
    worker.in_idle_order = true;
}

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

void make_ready(Core &core, TaskId id, Task &task, bool first) {
    task.assigned = task.asked = false;
    auto &queue = core.ready[task.priority];
    if (first)
        queue.push_front(id);
    else
        queue.push_back(id);
    core.ready_count++;
}

// Workers report in about the order of dispatch, so this looks at few.
void unassign(Worker &worker, TaskId id, Task &task) {
    auto found = std::find(worker.assigned.begin(), worker.assigned.end(), id);
    if (found != worker.assigned.end()) worker.assigned.erase(found);
    if (std::exchange(task.asked, false)) worker.asked--;
}

void drop_function_if_unused(Reactor r, FunctionId id) {
    auto found = r.core.functions.find(id);
    if (found == r.core.functions.end() || !found->second.orphan || found->second.tasks > 0) return;
    for (auto holder : found->second.holders) r.comm.forget(holder, id);
    r.core.functions.erase(found);
}

// The task's outcome is known, or nobody wants it: nothing of it remains.
void erase_task(Reactor r, TaskId id, const Task &task) {
    FunctionId function = task.function;
    if (auto client = r.core.clients.find(task.client); client != r.core.clients.end())
        client->second.tasks.erase(task.key);
    if (!task.assigned) r.core.ready_count--;
    r.core.tasks.erase(id);
    if (auto f = r.core.functions.find(function); f != r.core.functions.end()) f->second.tasks--;
    drop_function_if_unused(r, function);
}

std::string task_name(const Core &core, const Task &task) {
    auto function = core.functions.find(task.function);
    std::string name = function == core.functions.end() ? "task" : function->second.name;
    return name + "-" + std::to_string(task.key);
}

void fail_task(Reactor r, TaskId id, Task &task, proto::Failure failure) {
    failure.k = task.key;
    failure.tries = task.tries;
    r.core.failed++;
    r.comm.failed(task.client, std::move(failure));
    erase_task(r, id, task);
}

void take_from_worker(Reactor r, TaskId id, Task &task) {
    auto worker = r.core.workers.find(task.worker);
    if (!task.assigned || worker == r.core.workers.end()) return;
    LoadChange change(r.core, worker->first, worker->second);
    unassign(worker->second, id, task);
}

// Nobody wants the task any more.
void cancel_task(Reactor r, TaskId id, Task &task) {
    if (task.assigned) r.comm.kill(task.worker, id, task.instance);
    take_from_worker(r, id, task);
    erase_task(r, id, task);
}

// An execution was begun and lost with its process.
void retry_or_fail(Reactor r, TaskId id, Task &task, proto::Failure failure) {
    task.tries++;
    if (task.tries < r.core.settings.max_tries) {
        make_ready(r.core, id, task, true);
        return;
    }
    fail_task(r, id, task, std::move(failure));
}

// The assigned task that a report speaks of, or null where the report is stale.
Task *reported(Core &core, WorkerId worker, TaskId id, InstanceId instance) {
    auto found = core.tasks.find(id);
    if (found == core.tasks.end()) return nullptr;
    Task &task = found->second;
    bool current = task.assigned && task.worker == worker && task.instance == instance;
    return current ? &task : nullptr;
}

void learn_run_time(Core &core, FunctionId id, std::uint64_t us) {
    auto found = core.functions.find(id);
    if (found == core.functions.end()) return;
    auto &mean = found->second.mean_us;
    constexpr double weight = 0.125;
    double sample = static_cast<double>(us);
    mean = mean < 0 ? sample : mean + weight * (sample - mean);
}

void send_function(Reactor r, WorkerId worker, FunctionId id, Function &function) {
    if (function.holders.insert(worker).second)
        r.comm.function(worker, id, function.name, function.pickled);
}

// The next ready task, still in its queue; ids of cancelled ones are thrown away.
Task *next_ready(Core &core, TaskId &id) {
    while (!core.ready.empty()) {
        auto &queue = core.ready.begin()->second;
        while (!queue.empty()) {
            id = queue.front();
            auto found = core.tasks.find(id);
            if (found != core.tasks.end() && !found->second.assigned) return &found->second;
            queue.pop_front();
        }
        core.ready.erase(core.ready.begin());
    }
    return nullptr;
}

// Gives the worker up to `share` tasks; false where it has no room for the next.
bool feed(Reactor r, WorkerId worker_id, Worker &worker) {
    bool fed = false;
    std::uint64_t left = 0;
    TaskId id;
    for (Task *task; (task = next_ready(r.core, id)) != nullptr; left--) {
        Function &function = r.core.functions.at(task->function);
        auto depth = placement::depth(worker, function);
        if (worker.assigned.size() >= depth) return fed;
        if (!fed)
            left = placement::share(depth - worker.assigned.size(), r.core.ready_count,
                                    r.core.idle_order.size() + 1);
        if (left == 0) return true;
        r.core.ready.begin()->second.pop_front();
        r.core.ready_count--;
        task->assigned = true;
        task->worker = worker_id;
        task->instance.value++;
        worker.assigned.push_back(id);
        send_function(r, worker_id, task->function, function);
        r.comm.run(worker_id, task->function, id, task->instance, task->args);
        fed = true;
    }
    return fed;
}

// A worker that could run more and nothing ready: ask the fullest one for half
// of what it has not begun. It says which it gives back; the rest it finishes
// itself.
void rebalance(Reactor r) {
    if (r.core.idle_order.empty() || r.core.ready_count > 0 || r.core.answering > 0) return;
    const auto &[load, idle] = *r.core.idle_order.begin();
    if (load >= r.core.workers.at(idle).about.concurrency) return;
    auto donor = placement::donor(r.core);
    if (!donor) return;
    Worker &worker = r.core.workers.at(*donor);
    std::uint64_t wanted = (placement::surplus(worker) + 1) / 2;
    worker.answering = true;
    r.core.answering++;
    for (auto it = worker.assigned.rbegin(); it != worker.assigned.rend() && wanted > 0; ++it) {
        Task &task = r.core.tasks.at(*it);
        if (task.asked) continue;
        task.asked = true;
        worker.asked++;
        wanted--;
        r.comm.retract(*donor, *it, task.instance);
    }
}

// No worker is left and none will come: whoever waits would wait for ever.
void give_up_if_none_is_left(Reactor r) {
    const auto &unfit = r.core.unfit;
    bool none =
        r.core.workers.empty() && !unfit.empty() && unfit.size() >= r.core.settings.expected;
    if (!none) return;
    std::vector<TaskId> all;
    for (const auto &[id, task] : r.core.tasks) all.push_back(id);
    for (auto id : all) {
        proto::Failure failure;
        failure.kind = proto::FailureKind::lost;
        failure.message = "no worker is left; the first to go: " + unfit.begin()->second.message;
        fail_task(r, id, r.core.tasks.at(id), std::move(failure));
    }
}

} // namespace

ClientId on_new_client(Reactor r) {
    auto id = fresh<ClientTag>(r.core);
    r.core.clients.emplace(id, Client{});
    return id;
}

void on_client_lost(Reactor r, ClientId id) {
    auto found = r.core.clients.find(id);
    if (found == r.core.clients.end()) return;
    std::vector<TaskId> tasks;
    for (auto [key, task] : found->second.tasks) tasks.push_back(task);
    for (auto task : tasks) cancel_task(r, task, r.core.tasks.at(task));
    auto functions = std::move(found->second.functions);
    r.core.clients.erase(found);
    for (auto [number, function] : functions) {
        r.core.functions.at(function).orphan = true;
        drop_function_if_unused(r, function);
    }
}

Result<void> on_function(Reactor r, ClientId id, proto::Function message) {
    auto &client = r.core.clients.at(id);
    if (client.functions.contains(message.f))
        return fail("function " + std::to_string(message.f) + " was sent before");
    if (message.pickled.size() > proto::max_value)
        return fail("function " + std::to_string(message.f) + " has more than " +
                    format_size(proto::max_value));
    auto function = fresh<FunctionTag>(r.core);
    client.functions.emplace(message.f, function);
    Function entry;
    entry.client = id;
    entry.name = std::move(message.name);
    entry.pickled = std::move(message.pickled);
    r.core.functions.emplace(function, std::move(entry));
    return {};
}

Result<void> on_submit(Reactor r, ClientId id, const proto::Submit &submit) {
    auto &client = r.core.clients.at(id);
    auto function = client.functions.find(submit.f);
    if (function == client.functions.end())
        return fail("function " + std::to_string(submit.f) + " was never sent");
    auto args = proto::slices(submit.payload, submit.len);
    if (!args) return fail_from(std::move(args));
    for (std::size_t n = 0; n < submit.k.size(); n++) {
        auto key = submit.k[n];
        if (submit.len[n] > proto::max_value)
            return fail("the arguments of task " + std::to_string(key) + " have more than " +
                        format_size(proto::max_value));
        if (client.tasks.contains(key))
            return fail("task " + std::to_string(key) + " was submitted before");
        auto task_id = fresh<TaskTag>(r.core);
        Task task;
        task.client = id;
        task.key = key;
        task.function = function->second;
        task.args = (*args)[n];
        task.priority = submit.priority;
        task.retries = static_cast<std::uint32_t>(std::min<std::uint64_t>(submit.retries, 1000));
        client.tasks.emplace(key, task_id);
        r.core.functions.at(function->second).tasks++;
        make_ready(r.core, task_id, r.core.tasks.emplace(task_id, std::move(task)).first->second,
                   false);
    }
    return {};
}

void on_cancel(Reactor r, ClientId id, const proto::Column &keys) {
    auto &client = r.core.clients.at(id);
    for (auto key : keys) {
        auto found = client.tasks.find(key);
        if (found == client.tasks.end()) continue; // its outcome is on the way
        TaskId task_id = found->second;
        Task &task = r.core.tasks.at(task_id);
        proto::Failure failure;
        failure.kind = proto::FailureKind::cancelled;
        failure.k = key;
        failure.message = task_name(r.core, task) + " was cancelled";
        r.comm.failed(id, std::move(failure));
        cancel_task(r, task_id, task);
    }
}

WorkerId on_new_worker(Reactor r, proto::Register about) {
    auto id = fresh<WorkerTag>(r.core);
    auto &worker = r.core.workers[id];
    r.core.unfit.erase(about.task);
    r.core.seen.insert(about.task);
    worker.about = std::move(about);
    worker.heard_us = r.clock.now_us();
    enter_idle_order(r.core, id, worker);
    r.comm.workers_changed(worker_count(r.core));
    return id;
}

void on_worker_lost(Reactor r, WorkerId id, std::string_view why) {
    auto found = r.core.workers.find(id);
    if (found == r.core.workers.end()) return;
    Worker worker = std::move(found->second);
    // Its key there is the load before the move.
    if (worker.in_idle_order) r.core.idle_order.erase({worker.assigned.size(), id});
    r.core.workers.erase(found);
    if (worker.answering) r.core.answering--;
    for (auto &[number, function] : r.core.functions) function.holders.erase(id);

    // It runs in the order of dispatch: only the first ones can have begun.
    std::uint64_t begun = worker.about.concurrency;
    std::vector<TaskId> rest;
    for (auto task_id : worker.assigned) {
        Task &task = r.core.tasks.at(task_id);
        if (begun == 0) {
            rest.push_back(task_id);
            continue;
        }
        begun--;
        proto::Failure failure;
        failure.kind = proto::FailureKind::lost;
        failure.worker = worker.about.name;
        failure.node = worker.about.node;
        failure.message = "worker " + worker.about.name + " on " + worker.about.node +
                          " was lost: " + std::string(why);
        retry_or_fail(r, task_id, task, std::move(failure));
    }
    for (auto it = rest.rbegin(); it != rest.rend(); ++it)
        make_ready(r.core, *it, r.core.tasks.at(*it), true);
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
    LoadChange change(r.core, id, worker);
    for (std::size_t n = 0; n < done.k.size(); n++) {
        TaskId task_id{done.k[n]};
        Task *task = reported(r.core, id, task_id, InstanceId{done.i[n]});
        if (!task) continue;
        unassign(worker, task_id, *task);
        worker.done++;
        learn_run_time(r.core, task->function, done.us[n]);
        if (done.raised[n] && task->retries > 0) {
            task->retries--;
            make_ready(r.core, task_id, *task, false);
            continue;
        }
        if (done.raised[n]) {
            proto::Failure failure;
            failure.kind = proto::FailureKind::raised;
            failure.worker = worker.about.name;
            failure.node = worker.about.node;
            failure.payload = (*values)[n];
            fail_task(r, task_id, *task, std::move(failure));
            continue;
        }
        r.core.done++;
        r.comm.result(task->client, task->key, (*values)[n]);
        erase_task(r, task_id, *task);
    }
    return {};
}

Result<void> on_failed(Reactor r, WorkerId id, proto::Failure failure) {
    auto &worker = r.core.workers.at(id);
    worker.heard_us = r.clock.now_us();
    TaskId task_id{failure.k};
    Task *task = reported(r.core, id, task_id, InstanceId{failure.i});
    if (!task) return {};
    {
        LoadChange change(r.core, id, worker);
        unassign(worker, task_id, *task);
    }
    failure.worker = worker.about.name;
    failure.node = worker.about.node;
    failure.message = task_name(r.core, *task) + ": " + failure.message;
    if (failure.kind == proto::FailureKind::crashed) {
        retry_or_fail(r, task_id, *task, std::move(failure));
    } else if (task->retries > 0 && failure.kind == proto::FailureKind::memory) {
        task->retries--;
        make_ready(r.core, task_id, *task, false);
    } else {
        task->tries++;
        fail_task(r, task_id, *task, std::move(failure));
    }
    return {};
}

void on_retracted(Reactor r, WorkerId id, const proto::Refs &refs) {
    auto &worker = r.core.workers.at(id);
    if (std::exchange(worker.answering, false)) r.core.answering--;
    LoadChange change(r.core, id, worker);
    for (std::size_t n = 0; n < refs.k.size(); n++) {
        TaskId task_id{refs.k[n]};
        Task *task = reported(r.core, id, task_id, InstanceId{refs.i[n]});
        if (!task) continue;
        unassign(worker, task_id, *task);
        make_ready(r.core, task_id, *task, true);
    }
    // The others that it was asked for have begun: they are not asked for again.
}

void on_stat(Reactor r, WorkerId id, std::uint64_t memory) {
    auto &worker = r.core.workers.at(id);
    worker.memory = memory;
    worker.heard_us = r.clock.now_us();
}

void dispatch(Reactor r) {
    give_up_if_none_is_left(r);
    // Least loaded first; one that has no room for the next task waits outside
    // until the pass is over.
    std::vector<WorkerId> full;
    while (r.core.ready_count > 0 && !r.core.idle_order.empty()) {
        WorkerId id = r.core.idle_order.begin()->second;
        Worker &worker = r.core.workers.at(id);
        leave_idle_order(r.core, id, worker);
        if (feed(r, id, worker))
            enter_idle_order(r.core, id, worker);
        else
            full.push_back(id);
    }
    for (auto id : full) enter_idle_order(r.core, id, r.core.workers.at(id));
    rebalance(r);
}

void on_tick(Reactor r) {
    std::vector<WorkerId> silent;
    auto limit = r.core.settings.worker_silence_us;
    for (const auto &[id, worker] : r.core.workers)
        if (r.clock.now_us() - worker.heard_us > limit) silent.push_back(id);
    for (auto id : silent) {
        r.comm.drop_worker(id);
        on_worker_lost(r, id,
                       "nothing was heard of it for " + std::to_string(limit / 1'000'000) + " s");
    }
}

proto::WorkerCount worker_count(const Core &core) {
    auto gone = core.unfit.size();
    auto expected = core.settings.expected;
    return {core.workers.size(), expected > gone ? expected - gone : 0};
}

proto::Info info(const Core &core, const Clock &clock) {
    proto::Info info;
    info.id = core.settings.id;
    info.engine = core.settings.engine;
    info.address = core.settings.address;
    info.uptime_s = static_cast<std::uint64_t>((clock.now_us() - core.started_us) / 1'000'000);
    info.expected = worker_count(core).expected;
    info.clients = core.clients.size();
    info.waiting = core.ready_count;
    info.done = core.done;
    info.failed = core.failed;
    for (const auto &[id, worker] : core.workers) {
        std::uint64_t running =
            std::min<std::uint64_t>(worker.assigned.size(), worker.about.concurrency);
        info.running += running;
        info.waiting += worker.assigned.size() - running;
        info.workers.push_back(
            {worker.about, worker.memory, running, worker.assigned.size() - running, worker.done});
    }
    std::sort(info.workers.begin(), info.workers.end(),
              [](const auto &a, const auto &b) { return a.about.task < b.about.task; });
    return info;
}

} // namespace dtask::scheduler

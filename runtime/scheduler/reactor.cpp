// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/reactor.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "lib/base/strings.h"
#include "lib/proto/frame.h"
#include "runtime/scheduler/life.h"
#include "runtime/scheduler/placement.h"

namespace dtask::scheduler {

namespace {

using State = Task::State;

template <class Tag> Id<Tag> fresh(Core &core) { return Id<Tag>{++core.last_id}; }

// The task if it is assigned to the worker, else null.
Task *held_by(Core &core, WorkerId worker, TaskId id) {
    auto found = core.tasks.find(id);
    if (found == core.tasks.end()) return nullptr;
    Task &task = found->second;
    return task.state == State::assigned && task.worker == worker ? &task : nullptr;
}

// The assigned task that a report speaks of, or null where the report is stale.
Task *reported(Core &core, WorkerId worker, TaskId id, InstanceId instance) {
    Task *task = held_by(core, worker, id);
    return task && task->instance == instance ? task : nullptr;
}

// Off its worker, which lives. What comes of the task may change that worker's
// load as well, so the change ends here.
void take_back(Core &core, TaskId id, Task &task) {
    Worker &worker = core.workers.at(task.worker);
    life::LoadChange change(core, task.worker, worker);
    life::unassign(worker, id, task);
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

// Gives the worker up to `share` tasks; false where it has no room for the next.
bool feed(Reactor r, WorkerId worker_id, Worker &worker) {
    bool fed = false;
    std::uint64_t left = 0;
    TaskId id;
    for (Task *task; (task = life::next_ready(r.core, id)) != nullptr; left--) {
        Function &function = r.core.functions.at(task->function);
        auto depth = placement::depth(worker, function);
        if (worker.assigned.size() >= depth) return fed;
        if (!fed)
            left = placement::share(depth - worker.assigned.size(), r.core.ready_count,
                                    r.core.idle_order.size() + 1);
        if (left == 0) return true;
        life::leave_ready(r.core, id, *task);
        task->state = State::assigned;
        task->worker = worker_id;
        task->instance.value++;
        worker.assigned.push_back(id);
        send_function(r, worker_id, task->function, function);
        std::vector<std::string_view> inputs;
        for (auto input : task->inputs) inputs.push_back(r.core.tasks.at(input).value);
        r.comm.run(worker_id, task->function, id, task->instance, inputs, task->args);
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

// Its members have one user less each; they are added to `loose`.
std::vector<TaskId> leave_graph(Core &core, const std::vector<TaskId> &members,
                                std::vector<TaskId> loose) {
    for (auto id : members) {
        core.tasks.at(id).users--;
        loose.push_back(id);
    }
    return loose;
}

// No worker is left and none will come: whoever waits would wait for ever.
void give_up_if_none_is_left(Reactor r) {
    const auto &unfit = r.core.unfit;
    bool none =
        r.core.workers.empty() && !unfit.empty() && unfit.size() >= r.core.settings.expected;
    if (!none) return;
    std::vector<TaskId> all;
    for (const auto &[id, task] : r.core.tasks) all.push_back(id);
    std::ranges::sort(all); // what others wait for fails first, and they with it
    for (auto id : all) {
        auto found = r.core.tasks.find(id);
        if (found == r.core.tasks.end() || found->second.state == State::ended) continue;
        proto::Failure failure;
        failure.kind = proto::FailureKind::lost;
        failure.message = "no worker is left; the first to go: " + unfit.begin()->second.message;
        life::fail(r, id, found->second, std::move(failure));
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
    for (auto &[graph, members] : found->second.graphs)
        tasks = leave_graph(r.core, members, std::move(tasks));
    for (auto [key, task] : found->second.tasks) {
        r.core.tasks.at(task).wanted = false;
        tasks.push_back(task);
    }
    life::settle(r, std::move(tasks));
    auto functions = std::move(found->second.functions);
    r.core.clients.erase(found);
    for (auto [number, function] : functions) {
        r.core.functions.at(function).orphan = true;
        life::drop_function_if_unused(r, function);
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
        life::make_ready(r.core, task_id,
                         r.core.tasks.emplace(task_id, std::move(task)).first->second);
    }
    return {};
}

Result<void> on_graph(Reactor r, ClientId id, const proto::Graph &graph) {
    auto &client = r.core.clients.at(id);
    auto args = proto::slices(graph.payload, graph.len);
    if (!args) return fail_from(std::move(args));
    auto &members = client.graphs[graph.graph];
    std::size_t input = 0;
    for (std::size_t n = 0; n < graph.k.size(); n++) {
        auto key = graph.k[n];
        auto function = client.functions.find(graph.f[n]);
        if (function == client.functions.end())
            return fail("function " + std::to_string(graph.f[n]) + " was never sent");
        if (graph.len[n] > proto::max_value)
            return fail("the arguments of task " + std::to_string(key) + " have more than " +
                        format_size(proto::max_value));
        auto task_id = fresh<TaskTag>(r.core);
        if (!client.tasks.emplace(key, task_id).second)
            return fail("task " + std::to_string(key) + " was submitted before");
        Task &task = r.core.tasks[task_id];
        task.client = id;
        task.key = key;
        task.function = function->second;
        task.args = (*args)[n];
        task.priority = graph.priority;
        task.retries = static_cast<std::uint32_t>(std::min<std::uint64_t>(graph.retries, 1000));
        task.wanted = graph.wanted[n] != 0;
        task.users = 1; // the graph
        members.push_back(task_id);
        r.core.functions.at(function->second).tasks++;

        const proto::Failure *failure = nullptr;
        for (std::uint64_t left = graph.inputs[n]; left > 0; left--, input++) {
            auto known = client.tasks.find(graph.in[input]);
            if (known == client.tasks.end() || known->second == task_id)
                return fail("task " + std::to_string(key) + " needs " +
                            std::to_string(graph.in[input]) + ", which was not named before it");
            if (!life::add_input(r.core, task_id, task, known->second))
                failure = &r.core.failures.at(known->second);
        }
        if (failure)
            life::fail(r, task_id, task, proto::Failure(*failure));
        else if (task.missing == 0)
            life::make_ready(r.core, task_id, task);
    }
    if (!graph.complete) return {};
    auto loose = leave_graph(r.core, members, {});
    client.graphs.erase(graph.graph);
    life::settle(r, std::move(loose));
    return {};
}

void on_cancel(Reactor r, ClientId id, const proto::Column &keys) {
    auto &client = r.core.clients.at(id);
    for (auto key : keys) {
        auto found = client.tasks.find(key);
        if (found == client.tasks.end()) continue; // its outcome is on the way
        TaskId task_id = found->second;
        Task &task = r.core.tasks.at(task_id);
        if (!std::exchange(task.wanted, false)) continue;
        proto::Failure failure;
        failure.kind = proto::FailureKind::cancelled;
        failure.k = key;
        failure.message = life::name_of(r.core, task) + " was cancelled";
        r.comm.failed(id, std::move(failure));
        life::settle(r, {task_id}); // it goes on where others need its value
    }
}

WorkerId on_new_worker(Reactor r, proto::Register about) {
    auto id = fresh<WorkerTag>(r.core);
    auto &worker = r.core.workers[id];
    r.core.unfit.erase(about.task);
    r.core.seen.insert(about.task);
    worker.about = std::move(about);
    worker.heard_us = r.clock.now_us();
    life::enter_idle_order(r.core, id, worker);
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
        if (begun == 0) {
            rest.push_back(task_id);
            continue;
        }
        begun--;
        Task *task = held_by(r.core, id, task_id);
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
        if (Task *task = held_by(r.core, id, task_id)) life::make_ready(r.core, task_id, *task);
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
    for (std::size_t n = 0; n < done.k.size(); n++) {
        TaskId task_id{done.k[n]};
        Task *task = reported(r.core, id, task_id, InstanceId{done.i[n]});
        if (!task) continue;
        take_back(r.core, task_id, *task);
        worker.done++;
        learn_run_time(r.core, task->function, done.us[n]);
        if (done.raised[n] && task->retries > 0) {
            task->retries--;
            life::make_ready(r.core, task_id, *task);
            continue;
        }
        if (done.raised[n]) {
            proto::Failure failure;
            failure.kind = proto::FailureKind::raised;
            failure.worker = worker.about.name;
            failure.node = worker.about.node;
            failure.payload = (*values)[n];
            life::fail(r, task_id, *task, std::move(failure));
            continue;
        }
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
    take_back(r.core, task_id, *task);
    failure.worker = worker.about.name;
    failure.node = worker.about.node;
    failure.message = life::name_of(r.core, *task) + ": " + failure.message;
    if (failure.kind == proto::FailureKind::crashed) {
        life::retry_or_fail(r, task_id, *task, std::move(failure));
    } else if (task->retries > 0 && failure.kind == proto::FailureKind::memory) {
        task->retries--;
        life::make_ready(r.core, task_id, *task);
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
        take_back(r.core, task_id, *task);
        life::make_ready(r.core, task_id, *task);
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
        life::leave_idle_order(r.core, id, worker);
        if (feed(r, id, worker))
            life::enter_idle_order(r.core, id, worker);
        else
            full.push_back(id);
    }
    for (auto id : full) life::enter_idle_order(r.core, id, r.core.workers.at(id));
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

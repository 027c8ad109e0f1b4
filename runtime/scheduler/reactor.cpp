// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/reactor.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "lib/base/strings.h"
#include "lib/model/command.h"
#include "lib/proto/frame.h"
#include "runtime/scheduler/data.h"
#include "runtime/scheduler/life.h"
#include "runtime/scheduler/placement.h"

namespace dtask::scheduler {

namespace {

using State = Task::State;

template <class Tag> Id<Tag> fresh(Core &core) { return Id<Tag>{++core.last_id}; }

// Its members have one user less each; they are added to `loose`.
std::vector<TaskId> leave_graph(Core &core, const std::vector<TaskId> &members,
                                std::vector<TaskId> loose) {
    for (auto id : members) {
        core.tasks.at(id).users--;
        loose.push_back(id);
    }
    return loose;
}

// The task of call `n` of a message `submit` or `graph`. It is nowhere yet but in the tables.
template <class Message>
Result<std::pair<TaskId, Task *>> enter(Core &core, ClientId id, Client &client, Function &called,
                                        const Message &message, std::size_t n,
                                        std::string_view args) {
    auto key = message.k[n];
    if (args.size() > proto::max_value)
        return fail("the arguments of task " + std::to_string(key) + " have more than " +
                    format_size(proto::max_value));
    auto task_id = fresh<TaskTag>(core);
    if (!client.tasks.emplace(key, task_id).second)
        return fail("task " + std::to_string(key) + " was submitted before");
    Task *task = core.tasks.emplace(task_id).first;
    task->client = id;
    task->key = key;
    task->function = &called;
    task->body = Bytes(args);
    life::set_terms(core, *task, message);
    called.tasks++;
    return std::pair{task_id, task};
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
    found->second.tasks.each([&](std::uint64_t, TaskId task) {
        Task &mine = r.core.tasks.at(task);
        mine.wanted = false;
        mine.promised = false;
        if (std::exchange(mine.kept, false)) mine.users--;
        tasks.push_back(task);
    });
    life::settle(r, std::move(tasks));
    auto functions = std::move(found->second.functions);
    r.core.clients.erase(found);
    for (auto [number, function] : functions) {
        Function &mine = r.core.functions.at(function);
        mine.orphan = true;
        life::drop_function_if_unused(r, mine);
    }
}

Result<void> on_function(Reactor r, ClientId id, proto::Function message) {
    auto &client = r.core.clients.at(id);
    if (client.functions.contains(message.f))
        return fail("function " + std::to_string(message.f) + " was sent before");
    if (message.pickled.size() > proto::max_value)
        return fail("function " + std::to_string(message.f) + " has more than " +
                    format_size(proto::max_value));
    model::Command common;
    if (message.cpus > 0)
        if (auto ok = model::Command::decode(message.pickled, common); !ok) return ok;
    auto function = fresh<FunctionTag>(r.core);
    client.functions.emplace(message.f, function);
    Function entry;
    entry.id = function;
    entry.client = id;
    entry.name = std::move(message.name);
    entry.pickled = std::move(message.pickled);
    entry.cpus = message.cpus;
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
    Function &called = r.core.functions.at(function->second);
    for (std::size_t n = 0; n < submit.k.size(); n++) {
        auto entered = enter(r.core, id, client, called, submit, n, (*args)[n]);
        if (!entered) return fail_from(std::move(entered));
        auto [task_id, task] = *entered;
        life::make_ready(r.core, task_id, *task);
    }
    if (!submit.k.empty()) client.highest = std::max(client.highest, submit.k.back());
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
        auto &called = r.core.functions.at(function->second);
        auto entered = enter(r.core, id, client, called, graph, n, (*args)[n]);
        if (!entered) return fail_from(std::move(entered));
        TaskId task_id = entered->first;
        Task &task = *entered->second;
        task.wanted = graph.wanted[n] != 0;
        task.users = 1; // the graph
        members.push_back(task_id);

        const proto::Failure *failure = nullptr;
        for (std::uint64_t left = graph.inputs[n]; left > 0; left--, input++) {
            auto lost = client.broken_promises.find(graph.in[input]);
            if (lost != client.broken_promises.end()) {
                failure = &lost->second;
                continue;
            }
            const TaskId *known = client.tasks.find(graph.in[input]);
            if (!known || *known == task_id)
                return fail("task " + std::to_string(key) + " needs " +
                            std::to_string(graph.in[input]) + ", which was not named before it");
            if (!life::add_input(r, task_id, task, *known)) failure = &r.core.failures.at(*known);
        }
        if (failure)
            life::fail(r, task_id, task, proto::Failure(*failure));
        else if (task.missing == 0)
            life::make_ready(r.core, task_id, task);
    }
    if (!graph.k.empty()) client.highest = std::max(client.highest, graph.k.back());
    if (!graph.complete) return {};
    auto loose = leave_graph(r.core, members, {});
    client.graphs.erase(graph.graph);
    life::settle(r, std::move(loose));
    return {};
}

void on_cancel(Reactor r, ClientId id, const proto::Column &keys, std::string_view by) {
    auto &client = r.core.clients.at(id);
    for (auto key : keys) {
        const TaskId *found = client.tasks.find(key);
        if (!found) continue; // its outcome is on the way
        TaskId task_id = *found;
        Task &task = r.core.tasks.at(task_id);
        if (!std::exchange(task.wanted, false)) continue;
        proto::Failure failure;
        failure.kind = proto::FailureKind::cancelled;
        failure.k = key;
        failure.message = life::name_of(task) + " was cancelled" + std::string(by);
        life::break_promise(r.core, task, failure);
        r.comm.failed(id, std::move(failure));
        life::settle(r, {task_id}); // it goes on where others need its value
    }
}

void on_release(Reactor r, ClientId id, const proto::Column &keys) {
    auto &client = r.core.clients.at(id);
    std::vector<TaskId> released;
    for (auto key : keys) {
        client.broken_promises.erase(key);
        const TaskId *found = client.tasks.find(key);
        if (!found) continue;
        Task &task = r.core.tasks.at(*found);
        task.promised = false;
        // It may be being made again, to tell the client where it is.
        if (std::exchange(task.kept, false)) task.users--;
        task.wanted = false;
        released.push_back(*found);
    }
    life::settle(r, std::move(released));
}

void on_lost_value(Reactor r, ClientId id, const proto::LostValue &lost) {
    auto &client = r.core.clients.at(id);
    const TaskId *found = client.tasks.find(lost.k);
    if (!found) return;
    TaskId data_id = *found;
    Task &task = r.core.tasks.at(data_id);
    if (!task.kept) return;     // it is being made again
    if (task.size == 0) return; // it was, and the client has been told it
    for (const auto &copy : task.copies) {
        if (r.core.workers.at(copy.worker).about.address != lost.at) continue;
        auto source = copy.worker;
        lose_source(r, data_id, task, source, "its client could not fetch it from " + lost.at);
        break;
    }
    Task *still = r.core.tasks.find(data_id);
    if (!still || !still->kept) return;
    r.comm.stored(id, lost.k, data_id, task.size, data::address_of(r.core, task));
}

proto::WorkerCount worker_count(const Core &core) {
    auto gone = core.unfit.size();
    auto expected = core.settings.expected;
    return {core.workers.size(), expected > gone ? expected - gone : 0};
}

} // namespace dtask::scheduler

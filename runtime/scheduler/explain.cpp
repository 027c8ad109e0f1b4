// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/explain.h"

#include <algorithm>
#include <utility>

#include "lib/base/strings.h"
#include "runtime/scheduler/data.h"
#include "runtime/scheduler/life.h"
#include "runtime/scheduler/placement.h"

namespace dtask::scheduler {

namespace {

using State = Task::State;

constexpr std::size_t most_named = 5; // inputs, or workers, in one sentence

std::string count_of(std::uint64_t n, const std::string &what) {
    return std::to_string(n) + ' ' + what + (n == 1 ? "" : "s");
}

std::string seconds(std::int64_t us) {
    auto tenths = std::max<std::int64_t>(us, 0) / 100'000;
    if (tenths >= 100) return std::to_string(tenths / 10) + " s";
    return std::to_string(tenths / 10) + '.' + std::to_string(tenths % 10) + " s";
}

std::string amount(const std::string &resource, std::uint64_t value) {
    return resource == "memory" ? format_size(value) : std::to_string(value);
}

const Worker *worker_of(const Core &core, const Task &task) {
    auto found = core.workers.find(task.worker);
    return found == core.workers.end() ? nullptr : &found->second;
}

/// Its place among those that its worker has; those below slots + blocked run.
std::uint64_t place_at(const Worker &worker, TaskId id) {
    auto place = std::ranges::find(worker.assigned, id);
    return static_cast<std::uint64_t>(place - worker.assigned.begin());
}

bool runs(const Worker &worker, TaskId id, const Task &task) {
    if (task.state != State::assigned) return false;
    const auto &stat = worker.stat;
    for (std::size_t n = 0; n < stat.k.size(); n++)
        if (stat.k[n] == id.value && stat.i[n] == task.instance.value) return true;
    return place_at(worker, id) < worker.slots + worker.blocked;
}

std::string state_of(const Core &core, TaskId id, const Task &task) {
    switch (task.state) {
    case State::waiting: return "waiting";
    case State::ready: return "ready";
    case State::gathering: return "gathering";
    case State::assigned: {
        const Worker *worker = worker_of(core, task);
        return worker && runs(*worker, id, task) ? "running" : "queued";
    }
    case State::ended: break;
    }
    return task.failed ? "failed" : "done";
}

// "f-1 (running on n1.0), f-2 (waiting)"
std::string missing_inputs(const Core &core, const Task &task) {
    std::vector<TaskId> inputs(task.inputs.begin(), task.inputs.end());
    std::ranges::sort(inputs);
    inputs.erase(std::unique(inputs.begin(), inputs.end()), inputs.end());
    std::string text;
    std::size_t missing = 0;
    for (auto id : inputs) {
        const Task *input = core.tasks.find(id);
        if (!input || data::available(*input)) continue;
        if (++missing > most_named) continue;
        auto state = state_of(core, id, *input);
        if (state == "running")
            if (const Worker *worker = worker_of(core, *input))
                state += " on " + worker->about.name;
        text.append(text.empty() ? "" : ", ")
            .append(life::name_of(*input))
            .append(" (" + state + ")");
    }
    if (missing > most_named) text += " and " + std::to_string(missing - most_named) + " more";
    return "waits for " + std::to_string(missing) + " of its " + count_of(inputs.size(), "input") +
           ": " + text;
}

std::string no_worker(const Core &core) {
    auto count = worker_count(core);
    std::string text = "no worker " + std::string(core.alone_us ? "is left" : "has come yet") +
                       ", " + count_of(count.expected, "worker") + " expected";
    if (!core.unfit.empty()) {
        const auto &[task, unfit] = *core.unfit.begin();
        text += "; task " + std::to_string(task) + " on " + unfit.node +
                " cannot serve: " + unfit.message;
    }
    return text;
}

std::string not_all(const Core &core) {
    auto count = worker_count(core);
    if (count.n >= count.expected) return {};
    return "; " + std::to_string(count.n) + " of " + std::to_string(count.expected) +
           " workers have come";
}

// What of its needs keeps it from running.
std::string lacking(const Core &core, const Task &task) {
    const auto &needs = *task.restricted->needs;
    std::vector<const Worker *> named, suited;
    for (const auto &[id, worker] : core.workers) {
        proto::Needs place{needs.workers, {}};
        if (placement::suits(worker, place)) named.push_back(&worker);
        if (placement::suits(worker, needs)) suited.push_back(&worker);
    }
    if (named.empty()) {
        std::string text;
        for (const auto &name : needs.workers) text.append(text.empty() ? "" : ", ").append(name);
        return "needs to be on " + text + ", and no worker there has come" + not_all(core);
    }
    std::string text;
    auto join = [&](const std::string &part) {
        text.append(text.empty() ? "" : "; ").append(part);
    };
    if (suited.empty()) {
        for (const auto &[name, wanted] : needs.resources) {
            std::uint64_t most = 0;
            for (const auto *worker : named)
                most = std::max(most, placement::amount_of(*worker, name));
            if (most < wanted)
                join("needs " + amount(name, wanted) + " of " + name +
                     ", and no worker has more than " + amount(name, most));
        }
        if (text.empty()) text = "no worker has all that it needs";
        return text + not_all(core);
    }
    for (const auto &[name, wanted] : needs.resources) {
        std::uint64_t most = 0;
        for (const auto *worker : suited) {
            auto used = worker->used.find(name);
            auto all = placement::amount_of(*worker, name);
            most = std::max(most,
                            all - (used == worker->used.end() ? 0 : std::min(used->second, all)));
        }
        if (most < wanted)
            join("needs " + amount(name, wanted) + " of " + name + ", and " +
                 (suited.size() == 1
                      ? "worker " + suited[0]->about.name + ", which alone has so much, has "
                      : "of the " + count_of(suited.size(), "worker") +
                            " that have so much none has more than ") +
                 amount(name, most) + " free");
    }
    if (text.empty())
        text = "waits for room on " +
               (suited.size() == 1
                    ? "worker " + suited[0]->about.name + ", the only one that it may run on"
                    : "one of the " + count_of(suited.size(), "worker") + " that it may run on");
    return text;
}

std::string why_ready(const Core &core, const Clock &clock, TaskId id, const Task &task) {
    if (core.workers.empty()) return no_worker(core);
    std::uint64_t before = 0;
    const auto &queue = task.restricted ? task.restricted->ready : core.ready;
    for (const auto &[priority, tasks] : queue) {
        if (priority < task.priority) break;
        before += priority > task.priority ? tasks.count() : tasks.count_before(id);
    }
    auto place = before == 0
                     ? "it is the next one"
                     : count_of(before, "task") + (before == 1 ? " is" : " are") + " before it";
    if (task.restricted) return lacking(core, task) + "; of its kind " + place;
    if (placement::enough_under_way(core, *task.function, clock))
        return "queued at the scheduler: " + place + ", and of its function " +
               count_of(task.function->under_way, "task") +
               " are under way, as many as the scheduler can deal with";
    return "queued at the scheduler: " + place + ", and " +
           count_of(core.workers.size(), "worker") +
           (core.workers.size() == 1 ? " has as much as it takes" : " have as much as they take") +
           not_all(core);
}

std::string why_at_worker(const Core &core, const Clock &clock, TaskId id, const Task &task) {
    const Worker *worker = worker_of(core, task);
    if (!worker) return "its worker has gone";
    const auto &name = worker->about.name;
    if (task.state == State::gathering)
        return "worker " + name + " copies " + count_of(task.missing, "input") +
               " of it from other nodes";
    if (runs(*worker, id, task)) {
        auto us = running_us(*worker, id, task, clock.now_us());
        return "running on worker " + name + (us > 0 ? " for " + seconds(us) : ", just begun");
    }
    auto place = place_at(*worker, id);
    return "queued behind " + count_of(place, "task") + " on worker " + name;
}

std::string why_ended(const Core &core, TaskId id, const Task &task) {
    if (task.failed) {
        auto failure = core.failures.find(id);
        return "failed: " + (failure == core.failures.end() ? "" : failure->second.message);
    }
    if (task.size == 0) return "has ended well; its value is kept for the tasks that need it";
    if (!data::available(task)) return "has ended well; its value was lost, and is not needed";
    return "has ended well; its value, " + format_size(task.size) + ", is at " +
           data::address_of(core, task);
}

// What was before the present try.
std::string former_tries(const Core &core, const Clock &clock, ClientId client, std::uint64_t key) {
    std::uint64_t count = 0;
    const Failed *last = nullptr;
    for (const auto &failed : core.history.retries())
        if (failed.client == client && failed.key == key) {
            count++;
            last = &failed;
        }
    if (!last) return {};
    return "; tried before " + count_of(count, "time") + ", the last time " +
           seconds(clock.now_us() - last->at_us) + " ago" +
           (last->worker.empty() ? "" : " on worker " + last->worker) + ": " + last->message;
}

proto::Explanation explain(const Core &core, const Clock &clock, TaskId id, const Task &task) {
    proto::Explanation told;
    told.task = {life::name_of(task), task.client.value, task.key, 0};
    told.state = state_of(core, id, task);
    told.id = id.value;
    told.instance = task.instance.value;
    told.tries = task.tries;
    told.command = task.function->cpus > 0;
    switch (task.state) {
    case State::waiting: told.why = missing_inputs(core, task); break;
    case State::ready: told.why = why_ready(core, clock, id, task); break;
    case State::gathering:
    case State::assigned: told.why = why_at_worker(core, clock, id, task); break;
    case State::ended: told.why = why_ended(core, id, task); break;
    }
    if (task.state == State::gathering || task.state == State::assigned)
        if (const Worker *worker = worker_of(core, task)) {
            told.worker = worker->about.name;
            told.address = worker->about.address;
            auto us = running_us(*worker, id, task, clock.now_us());
            told.task.ms = static_cast<std::uint64_t>(std::max<std::int64_t>(us, 0) / 1'000);
        }
    told.why += former_tries(core, clock, task.client, task.key);
    return told;
}

proto::Explanation explain(const Core &core, const Clock &clock, const Failed &failed) {
    proto::Explanation told;
    told.task = {failed.name, failed.client.value, failed.key, 0};
    told.state = "failed";
    told.worker = failed.worker;
    told.tries = failed.tries;
    told.detail = failed.detail;
    told.why = "failed " + seconds(clock.now_us() - failed.at_us) + " ago" +
               (failed.worker.empty() ? "" : " on worker " + failed.worker) + ": " +
               failed.message + former_tries(core, clock, failed.client, failed.key);
    return told;
}

bool is_meant(const model::TaskName &name, const Function &function) {
    return name.function.empty() || name.function == function.name;
}

/// The clients that are meant, in the order in which they came.
std::vector<ClientId> clients_of(const Core &core, const model::TaskName &name) {
    std::vector<ClientId> clients;
    for (const auto &[id, client] : core.clients)
        if (!name.client || id.value == *name.client) clients.push_back(id);
    std::ranges::sort(clients);
    return clients;
}

bool has_function(const Core &core, const Client &client, const std::string &name) {
    return name.empty() || std::ranges::any_of(client.functions, [&](const auto &entry) {
               return core.functions.at(entry.second).name == name;
           });
}

const char *const how_ended =
    "has ended: well, since it is not among the latest failures, or it was cancelled; nothing is "
    "kept of a task that has ended well";
const char *const how_ended_maybe =
    "has ended; it is not among the latest failures, of which some are not kept any more";

} // namespace

std::vector<proto::Explanation> explain(const Core &core, const Clock &clock,
                                        const model::TaskName &name) {
    std::vector<proto::Explanation> all;
    for (auto client_id : clients_of(core, name)) {
        const auto *found = core.clients.at(client_id).tasks.find(name.key);
        const Task *task = found ? core.tasks.find(*found) : nullptr;
        if (task && is_meant(name, *task->function))
            all.push_back(explain(core, clock, *found, *task));
    }
    const auto &failures = core.history.failures();
    for (auto failed = failures.rbegin(); failed != failures.rend(); ++failed) {
        if (failed->key != name.key || (name.client && failed->client.value != *name.client))
            continue;
        if (!name.function.empty() &&
            failed->name != name.function + '-' + std::to_string(name.key))
            continue;
        bool told = std::ranges::any_of(
            all, [&](const auto &other) { return other.task.client == failed->client.value; });
        if (!told) all.push_back(explain(core, clock, *failed));
    }
    if (!all.empty()) return all;
    for (auto client_id : clients_of(core, name)) {
        const auto &client = core.clients.at(client_id);
        if (name.key == 0 || name.key > client.highest ||
            !has_function(core, client, name.function))
            continue;
        proto::Explanation told;
        told.task = {(name.function.empty() ? "task" : name.function) + '-' +
                         std::to_string(name.key),
                     client_id.value, name.key, 0};
        told.state = "ended";
        told.why = core.history.forgotten() > 0 ? how_ended_maybe : how_ended;
        told.why += former_tries(core, clock, client_id, name.key);
        all.push_back(std::move(told));
    }
    return all;
}

Withdrawn withdraw(Reactor r, const std::vector<std::string> &names) {
    Withdrawn done;
    for (const auto &text : names) {
        auto name = model::parse_task_name(text);
        std::vector<std::pair<ClientId, TaskId>> meant;
        if (name)
            for (auto client : clients_of(r.core, *name)) {
                const auto *found = r.core.clients.at(client).tasks.find(name->key);
                const Task *task = found ? r.core.tasks.find(*found) : nullptr;
                if (task && is_meant(*name, *task->function) && task->state != State::ended)
                    meant.emplace_back(client, *found);
            }
        if (meant.empty()) {
            done.unknown.push_back(text);
        } else if (meant.size() > 1) {
            for (auto [client, id] : meant)
                done.ambiguous.push_back(std::to_string(client.value) + ':' +
                                         life::name_of(r.core.tasks.at(id)));
        } else if (!r.core.tasks.at(meant[0].second).wanted) {
            done.needed.push_back(life::name_of(r.core.tasks.at(meant[0].second)));
        } else {
            on_cancel(r, meant[0].first, {name->key}, " by dtask cancel");
            done.count++;
        }
    }
    return done;
}

Withdrawn withdraw_all(Reactor r) {
    Withdrawn done;
    for (auto client : clients_of(r.core, {})) {
        proto::Column keys;
        r.core.clients.at(client).tasks.each([&](std::uint64_t key, TaskId id) {
            if (r.core.tasks.at(id).wanted) keys.push_back(key);
        });
        std::ranges::sort(keys);
        done.count += keys.size();
        on_cancel(r, client, keys, " by dtask cancel");
    }
    return done;
}

} // namespace dtask::scheduler

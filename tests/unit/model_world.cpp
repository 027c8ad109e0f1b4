// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/model_world.h"

#include <algorithm>
#include <array>

#include "runtime/scheduler/placement.h"

namespace dtask::test {

using proto::FailureKind;
using namespace scheduler;

namespace {

constexpr int events_of_a_run = 3'000;
constexpr std::size_t most_workers = 5, most_clients = 3, most_open = 120;
constexpr std::uint64_t expected_workers = 3;

} // namespace

World::World(std::uint64_t seed) : random_(seed) {
    stage_.core.settings.expected = expected_workers;
}

void World::play() {
    for (int n = 0; n < events_of_a_run; n++) event();
    drain();
}

void World::event() {
    switch (below(24)) {
    case 0: new_client(); break;
    case 1:
        if (chance(15)) lose_client();
        break;
    case 2: new_function(); break;
    case 3:
    case 4: submit(); break;
    case 5: cancel(); break;
    case 6: new_worker(); break;
    case 7:
        if (chance(25)) lose_worker();
        break;
    case 8:
        if (chance(10)) unfit();
        break;
    case 9: quiet(); break;
    case 10:
    case 11:
    case 12:
    case 13: dispatch(); break;
    case 14:
    case 15:
    case 16:
    case 17:
    case 18: worker_reads(); break;
    case 19:
    case 20:
    case 21: worker_works(); break;
    default: report_arrives(); break;
    }
    after();
}

void World::new_client() {
    if (clients_.size() >= most_clients) return;
    clients_[stage_.client()];
}

void World::new_function() {
    if (clients_.empty()) return;
    auto &[id, client] = *any(clients_);
    stage_.function(id, ++client.functions);
}

void World::submit() {
    if (clients_.empty()) return;
    auto &[id, client] = *any(clients_);
    if (client.functions == 0 || open_tasks() >= most_open) return;
    proto::Submit m;
    m.f = 1 + below(client.functions);
    m.retries = chance(30) ? below(3) : 0;
    m.priority = chance(20) ? static_cast<std::int64_t>(below(3)) - 1 : 0;
    for (auto count = 1 + below(30); count > 0; count--) {
        client.next_key += below(2);
        auto key = client.next_key++;
        auto args = std::to_string(id.value) + ":" + std::to_string(key);
        m.k.push_back(key);
        m.len.push_back(args.size());
        m.payload += args;
        client.open[key] = {m.retries, 0, m.f, {}};
    }
    must(on_submit(stage_.reactor(), id, m));
}

void World::cancel() {
    if (clients_.empty()) return;
    auto &[id, client] = *any(clients_);
    proto::Column keys;
    for (auto count = below(4); count > 0; count--) keys.push_back(below(client.next_key + 2));
    for (auto key : keys)
        if (auto open = client.open.find(key); open != client.open.end())
            end(id, open->first, "cancelled");
    on_cancel(stage_.reactor(), id, keys);
}

void World::lose_client() {
    if (clients_.empty()) return;
    auto found = any(clients_);
    for (auto &[key, task] : found->second.open) undispatch(task);
    auto id = found->first;
    clients_.erase(found);
    on_client_lost(stage_.reactor(), id);
}

void World::new_worker() {
    if (workers_.size() >= most_workers) return;
    PlayedWorker worker;
    worker.concurrency = chance(70) ? 1 : 1 + below(4);
    worker.slurm_task = below(expected_workers);
    proto::Register about;
    about.name = about.node = "n" + std::to_string(worker.slurm_task);
    about.task = worker.slurm_task;
    about.concurrency = worker.concurrency;
    unfit_.erase(worker.slurm_task);
    auto id = on_new_worker(stage_.reactor(), about);
    workers_.emplace(id, std::move(worker));
}

void World::lose_worker() {
    if (workers_.empty()) return;
    auto id = any(workers_)->first;
    forget_worker(id);
    on_worker_lost(stage_.reactor(), id, "chance");
}

void World::forget_worker(WorkerId id) {
    auto worker = std::move(workers_.at(id));
    workers_.erase(id);
    std::uint64_t begun = worker.concurrency;
    for (auto task_id : worker.dispatched) {
        auto &[client, key] = names_.at(task_id);
        auto &task = clients_.at(client).open.at(key);
        task.current.reset();
        if (begun > 0) {
            begun--;
            try_was_lost(client, key, task, "lost");
        }
    }
}

void World::unfit() {
    auto task = below(expected_workers);
    for (auto &[id, worker] : workers_)
        if (worker.slurm_task == task) return;
    unfit_.insert(task);
    on_unfit(stage_.reactor(), {"n", "chance", task});
}

void World::quiet() {
    if (!chance(5)) return on_tick(stage_.reactor());
    std::vector<WorkerId> silent, speaking;
    for (auto &[id, worker] : workers_) (chance(60) ? speaking : silent).push_back(id);
    for (auto id : silent) forget_worker(id);
    constexpr std::int64_t step_us = 4'000'000;
    for (std::int64_t us = 0; us <= stage_.core.settings.silence_us; us += step_us) {
        stage_.clock.advance(step_us);
        for (auto id : speaking) on_stat(stage_.reactor(), id, {.memory = 1});
        on_tick(stage_.reactor());
    }
    holds(stage_.comm.take_dropped().size() == silent.size());
}

void World::dispatch() {
    const auto &core = stage_.core;
    // When the last one was lost is the scheduler's to know; how long it waits is not.
    bool lonely = core.alone_us && stage_.clock.now_us() - *core.alone_us > core.settings.lonely_us;
    if (workers_.empty() && (unfit_.size() >= expected_workers || lonely))
        for (auto &[id, client] : clients_)
            while (!client.open.empty()) end(id, client.open.begin()->first, "lost");
    scheduler::dispatch(stage_.reactor());
    for (auto &run : stage_.comm.take_runs()) take(run);
    std::map<WorkerId, Message> questions;
    for (auto &ref : stage_.comm.take_retracts()) {
        auto &question = questions[ref.worker];
        question.kind = Message::Kind::retract;
        question.refs.push_back(ref);
    }
    for (auto &[id, question] : questions) workers_.at(id).inbox.push_back(question);
    check_that_none_idles();
}

void World::take(const Run &run) {
    auto colon = run.args.find(':');
    ClientId client{std::stoull(run.args.substr(0, colon))};
    auto key = std::stoull(run.args.substr(colon + 1));
    auto owner = clients_.find(client);
    holds_because(owner != clients_.end(), "a task of a client that has gone was dispatched");
    auto task = owner->second.open.find(key);
    holds_because(task != owner->second.open.end(), "a task was dispatched after its outcome");
    holds_because(!task->second.current, "a task was dispatched twice at a time");
    holds(instances_[run.task] < run.instance);
    instances_[run.task] = run.instance;
    names_[run.task] = {client, key};
    task->second.current = run;
    auto &worker = workers_.at(run.worker);
    worker.dispatched.push_back(run.task);
    worker.inbox.push_back({Message::Kind::run, {{run.worker, run.task, run.instance}}, run.args});
}

void World::check_that_none_idles() {
    const auto &core = stage_.core;
    bool idle = false, spare = false;
    for (const auto &[id, worker] : core.workers) {
        auto concurrency = worker.about.concurrency;
        if (core.ready_count > 0)
            holds_because(worker.assigned.size() >= 2 * concurrency,
                          "a worker has room and a task is ready");
        idle = idle || worker.assigned.size() < concurrency;
        spare = spare || placement::surplus(worker) > 0;
    }
    // A worker of little load is asked for before one that is wholly idle
    // only where their concurrency differs; then it is not held to this.
    bool equal = std::all_of(core.workers.begin(), core.workers.end(), [&](const auto &w) {
        return w.second.about.concurrency == core.workers.begin()->second.about.concurrency;
    });
    if (core.ready_count == 0 && idle && spare && equal)
        holds_because(core.answering > 0, "a worker idles, another has tasks to spare");
}

void World::worker_reads() {
    if (workers_.empty()) return;
    auto &[id, worker] = *any(workers_);
    if (worker.inbox.empty()) return;
    auto message = std::move(worker.inbox.front());
    worker.inbox.pop_front();
    if (message.kind == Message::Kind::run) {
        worker.held.emplace_back(message.refs[0], message.args);
        return;
    }
    Report answer{Report::retracted, {}, {}, {}, 0};
    for (auto &ref : message.refs)
        for (auto it = worker.held.begin(); it != worker.held.end(); ++it) {
            if (it->first.task != ref.task || it->first.instance != ref.instance) continue;
            auto place = static_cast<std::uint64_t>(it - worker.held.begin());
            if (message.kind == Message::Kind::retract) {
                // It runs, or was given to an executor ahead.
                if (place < worker.concurrency || chance(20)) break;
                answer.refs.push_back(ref);
            }
            worker.held.erase(it);
            break;
        }
    if (message.kind == Message::Kind::retract) worker.outbox.push_back(std::move(answer));
}

void World::worker_works() {
    if (workers_.empty()) return;
    auto &[id, worker] = *any(workers_);
    if (worker.held.empty()) return;
    auto place = below(std::min<std::uint64_t>(worker.concurrency, worker.held.size()));
    auto at = worker.held.begin() + static_cast<std::ptrdiff_t>(place);
    Report report{Report::done, {at->first}, {}, at->second, 0};
    constexpr std::uint64_t times[]{1, 100, 5'000, 1'000'000};
    report.us = times[below(4)];
    switch (below(10)) {
    case 0: report.kind = Report::raised; break;
    case 1:
        report.kind = Report::failed;
        report.failure =
            std::array{FailureKind::crashed, FailureKind::memory, FailureKind::too_large}[below(3)];
        break;
    default: break;
    }
    worker.held.erase(at);
    worker.outbox.push_back(std::move(report));
}

void World::report_arrives() {
    if (workers_.empty()) return;
    auto found = any(workers_);
    if (found->second.outbox.empty()) return;
    auto report = std::move(found->second.outbox.front());
    found->second.outbox.pop_front();
    deliver(found->first, report);
    if (chance(5)) old_.push_back({found->first, report});
    if (!old_.empty() && chance(20)) { // once more, at any later time
        auto [id, again] = old_[below(old_.size())];
        if (workers_.contains(id)) deliver(id, again);
    }
}

void World::deliver(WorkerId id, const Report &report) {
    if (report.kind == Report::retracted) {
        proto::Refs refs;
        for (auto &ref : report.refs) {
            refs.k.push_back(ref.task.value);
            refs.i.push_back(ref.instance.value);
            if (auto *task = current(ref)) undispatch(*task);
        }
        return on_retracted(stage_.reactor(), id, refs);
    }
    const auto &ref = report.refs[0];
    auto *task = current(ref);
    if (task) {
        auto [client, key] = names_.at(ref.task);
        undispatch(*task);
        bool retried = task->retries > 0 &&
                       (report.kind == Report::raised ||
                        (report.kind == Report::failed && report.failure == FailureKind::memory));
        if (retried)
            task->retries--;
        else if (report.kind == Report::done)
            end(client, key, "result " + report.value);
        else if (report.kind == Report::raised)
            end(client, key, "raised");
        else if (report.failure == FailureKind::crashed)
            try_was_lost(client, key, *task, "crashed");
        else
            end(client, key, std::string(proto::name_of(report.failure)));
    }
    if (report.kind == Report::failed) {
        proto::Failure failure;
        failure.k = ref.task.value;
        failure.i = ref.instance.value;
        failure.kind = report.failure;
        must(on_failed(stage_.reactor(), id, failure));
        return;
    }
    must(on_done(stage_.reactor(), id,
                 {{ref.task.value},
                  {ref.instance.value},
                  {report.us},
                  {report.kind == Report::raised},
                  {report.value.size()},
                  report.value}));
}

std::size_t World::open_tasks() const {
    std::size_t sum = 0;
    for (auto &[id, client] : clients_) sum += client.open.size();
    return sum;
}

ModelTask *World::current(const Ref &ref) {
    auto name = names_.find(ref.task);
    if (name == names_.end()) return nullptr;
    auto client = clients_.find(name->second.first);
    if (client == clients_.end()) return nullptr;
    auto task = client->second.open.find(name->second.second);
    if (task == client->second.open.end()) return nullptr;
    auto &now = task->second.current;
    bool same =
        now && now->worker == ref.worker && now->task == ref.task && now->instance == ref.instance;
    return same ? &task->second : nullptr;
}

void World::undispatch(ModelTask &task) {
    if (!task.current) return;
    auto &queue = workers_.at(task.current->worker).dispatched;
    queue.erase(std::find(queue.begin(), queue.end(), task.current->task));
    task.current.reset();
}

void World::end(ClientId client, std::uint64_t key, std::string what) {
    auto &open = clients_.at(client).open;
    undispatch(open.at(key));
    open.erase(key);
    expected_.emplace(client.value, key, std::move(what));
}

void World::try_was_lost(ClientId client, std::uint64_t key, ModelTask &task, const char *what) {
    if (++task.tries == stage_.core.settings.max_tries) end(client, key, what);
}

void World::after() {
    std::multiset<Outcome> sent;
    for (auto &r : stage_.comm.take_results())
        sent.emplace(r.client.value, r.key, "result " + r.value);
    for (auto &f : stage_.comm.take_failures())
        sent.emplace(f.client.value, f.failure.k, std::string(proto::name_of(f.failure.kind)));
    for (auto &[client, key, what] : sent)
        holds_because(expected_.contains({client, key, what}),
                      "client %llu was told of task %llu, not expected: %s",
                      static_cast<unsigned long long>(client), static_cast<unsigned long long>(key),
                      what.c_str());
    for (auto &[client, key, what] : expected_)
        holds_because(sent.contains({client, key, what}),
                      "client %llu was not told of task %llu: %s",
                      static_cast<unsigned long long>(client), static_cast<unsigned long long>(key),
                      what.c_str());
    holds(sent.size() == expected_.size());
    expected_.clear();
    for (auto &ref : stage_.comm.take_kills())
        if (auto worker = workers_.find(ref.worker); worker != workers_.end())
            worker->second.inbox.push_back({Message::Kind::kill, {ref}, {}});
    stage_.comm.take_functions();
    stage_.comm.take_forgets();
    stage_.comm.take_counts();
    stage_.over(); // and nothing else
    for (auto &[id, worker] : workers_) {
        const auto &assigned = stage_.core.workers.at(id).assigned;
        holds_because(std::equal(assigned.begin(), assigned.end(), worker.dispatched.begin(),
                                 worker.dispatched.end()),
                      "scheduler and model differ over what a worker holds");
    }
    holds(stage_.core.tasks.size() == open_tasks());
}

void World::drain() {
    if (workers_.empty()) {
        new_worker();
        after();
    }
    for (int round = 0; open_tasks() > 0; round++) {
        holds_because(round < 100'000, "%zu tasks are left", open_tasks());
        dispatch();
        after();
        for (int n = 0; n < 5; n++) {
            worker_reads();
            worker_works();
            report_arrives();
            after();
        }
    }
    while (!clients_.empty()) {
        lose_client();
        after();
    }
    const auto &core = stage_.core;
    holds(core.tasks.empty() && core.functions.empty() && core.clients.empty());
    holds(core.ready_count == 0);
    for (const auto &[id, worker] : core.workers) holds(worker.assigned.empty());
}

} // namespace dtask::test

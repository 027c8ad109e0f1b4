// SPDX-License-Identifier: Apache-2.0
// The workers of the world.
#include <algorithm>
#include <utility>

#include "tests/model/world.h"
#include "tests/unit/unit.h"

namespace dtask::model {

namespace {

std::string text(WorkerId id) { return "worker " + std::to_string(id.value); }
std::string file_of(std::uint64_t slurm_task, TaskId id) {
    return "/s" + std::to_string(slurm_task) + "/" + std::to_string(id.value);
}
std::string serial_of(const Call *call) {
    return call ? "call " + std::to_string(call->serial) : "no call";
}

} // namespace

void World::worker_event(WorkerId id, Worker &worker) {
    if (!worker.alive) {
        if (random_.once_in(3)) lose(id, "its connection was closed");
        return;
    }
    if (worker.silent) {
        if (random_.once_in(6)) worker.silent = false;
        return;
    }
    switch (random_.below(24)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
    case 5: return take(id, worker);
    case 6:
    case 7:
    case 8:
    case 9: return start(id, worker);
    case 10:
    case 11:
    case 12:
    case 13:
    case 14: return finish(id, worker);
    case 15: return report_failure(id, worker);
    case 16:
    case 17:
    case 18: return copy(id, worker);
    case 19: return nest(id, worker);
    case 20:
    case 21: return stale(id);
    case 22:
        if (random_.once_in(4)) {
            say(text(id) + " falls silent");
            worker.silent = true;
        }
        return;
    default:
        if (!random_.once_in(4)) return;
        die(id, worker);
        if (random_.once_in(2)) lose(id, "its connection was closed");
    }
}

// A task of the step that has none gets a worker; also where the old one is
// dead and the scheduler has yet to notice.
void World::begin_worker() {
    std::set<std::uint64_t> taken;
    for (const auto &[id, worker] : workers_)
        if (worker.alive) taken.insert(worker.slurm_task);
    if (taken.size() >= core.settings.expected) return;
    std::uint64_t task = 0;
    while (taken.contains(task)) task++;
    proto::Register about;
    about.task = task;
    about.node = std::string(1, "abc"[task % 3]);
    about.name = about.node + "." + std::to_string(task);
    about.store = "/s" + std::to_string(task);
    about.concurrency = 1 + task % 2 + random_.below(2);
    about.nthreads = 2 + task % 3;
    about.resources["gpu"] = task % 3;
    about.address = about.name + ":" + std::to_string(core.last_id + 1); // a port of its own
    WorkerId id{core.last_id + 1};
    workers_[id].slurm_task = task;
    known[id].about = about;
    alone_since_us.reset();
    say(text(id) + ", " + about.name + ", registers");
    if (on_new_worker(reactor(), about) != id) broken("a worker has another number");
}

void World::take(WorkerId, Worker &worker) {
    auto &inbox = worker.inbox;
    for (auto n = 1 + random_.below(4); n > 0 && !inbox.empty(); n--) {
        auto order = std::move(inbox.front());
        inbox.pop_front();
        auto is_it = [&](const Running &run) {
            return run.task == order.task && run.instance == order.instance;
        };
        auto id = std::ranges::find_if(workers_, [&](const auto &entry) {
                      return &entry.second == &worker;
                  })->first;
        switch (order.kind) {
        case Order::Kind::run: worker.queue.push_back({order.task, order.instance}); break;
        case Order::Kind::kill: {
            std::erase_if(worker.queue, is_it);
            auto found = std::ranges::find_if(worker.running, is_it);
            if (found != worker.running.end())
                end_call(id, worker, static_cast<std::size_t>(found - worker.running.begin()));
            break;
        }
        case Order::Kind::fetch: worker.fetching[order.task] = order.from; break;
        case Order::Kind::free:
            worker.fetching.erase(order.task);
            worker.store.erase(order.task);
            files_.erase(file_of(worker.slurm_task, order.task));
            break;
        case Order::Kind::retract: { // all of one turn are one message
            proto::Refs back;
            for (auto next = order;;) {
                auto same = [&](const Running &run) {
                    return run.task == next.task && run.instance == next.instance;
                };
                if (std::erase_if(worker.queue, same) > 0) {
                    back.k.push_back(next.task.value);
                    back.i.push_back(next.instance.value);
                    if (Call *call = reported(id, next.task, next.instance.value)) call->at.reset();
                }
                if (inbox.empty() || inbox.front().kind != Order::Kind::retract ||
                    inbox.front().turn != order.turn)
                    break;
                next = std::move(inbox.front());
                inbox.pop_front();
            }
            say(text(id) + " gives back " + std::to_string(back.k.size()));
            on_retracted(reactor(), id, back);
        }
        }
    }
}

bool World::reads_exist(const Worker &, const Running &run) {
    Call *call = call_of(run.task);
    if (!call || call->instance != run.instance.value) return true; // stale: it does not matter
    return std::ranges::all_of(call->reads,
                               [&](const auto &path) { return files_.contains(path); });
}

void World::start(WorkerId id, Worker &worker) {
    if (worker.queue.empty()) return;
    auto blocked = std::ranges::count_if(worker.running,
                                         [](const auto &run) { return run.nested.value != 0; });
    auto busy = worker.running.size() - static_cast<std::size_t>(blocked);
    if (busy >= known.at(id).about.concurrency) return;
    worker.running.push_back(worker.queue.front());
    worker.queue.pop_front();
    if (reads_exist(worker, worker.running.back())) return;
    std::swap(worker.running.front(), worker.running.back());
    report_failure(id, worker, true);
}

// The process of a call ends, and with it what it is a client of.
void World::end_call(WorkerId id, Worker &worker, std::size_t n) {
    auto nested = worker.running[n].nested;
    worker.running.erase(worker.running.begin() + static_cast<long>(n));
    if (nested.value == 0) return;
    tell_blocked(id, worker);
    if (auto found = clients_.find(nested); found != clients_.end()) found->second.dying = true;
}

void World::finish(WorkerId id, Worker &worker) {
    proto::Done done;
    std::string what;
    for (auto n = 1 + random_.below(3); n > 0 && !worker.running.empty(); n--) {
        auto at = random_.below(worker.running.size());
        auto run = worker.running[at];
        if (auto child = clients_.find(run.nested); child != clients_.end() &&
                                                    !is_done(child->second) &&
                                                    (draining_ || !random_.once_in(8)))
            continue;
        if (run.nested.value != 0) {
            end_call(id, worker, at);
        } else {
            worker.running.erase(worker.running.begin() + static_cast<long>(at));
        }
        Call &call = *call_of(run.task);
        bool counts = reported(id, run.task, run.instance.value) != nullptr;
        bool raised = !draining_ && random_.once_in(8);
        bool stored = !raised && random_.once_in(2);
        std::uint64_t size = stored ? 100'000 + random_.below(2'000'000) : 0;
        auto value = raised   ? "e" + std::to_string(call.serial)
                     : stored ? ""
                              : value_of(call.serial);
        if (stored) {
            worker.store.insert(run.task);
            files_.insert(file_of(worker.slurm_task, run.task));
        }
        if (counts) {
            call.at.reset();
            in_one_report.insert(run.task);
            if (raised) call.raised++;
            if (!raised && !stored) call.small = true;
            if (stored) {
                call.size = size;
                known.at(id).values.insert(run.task);
            }
        }
        done.k.push_back(run.task.value);
        done.i.push_back(run.instance.value);
        done.us.push_back(random_.below(10'000));
        done.raised.push_back(raised);
        done.len.push_back(value.size());
        done.stored.push_back(size);
        done.payload += value;
        what += ", " + serial_of(&call) + "." + std::to_string(run.instance.value) +
                (raised   ? " raised"
                 : stored ? " stored"
                          : "") +
                (counts ? "" : " (stale)");
    }
    if (done.k.empty()) return;
    if (random_.once_in(2) &&
        std::ranges::count(done.stored, 0U) == static_cast<long>(done.stored.size()))
        done.stored.clear();
    say(text(id) + " has done" + what);
    test::must(on_done(reactor(), id, done));
    in_one_report.clear();
}

// Of the first that runs.
void World::report_failure(WorkerId id, Worker &worker, bool missing) {
    if (worker.running.empty()) return;
    using Kind = proto::FailureKind;
    auto run = worker.running.front();
    end_call(id, worker, 0);
    static constexpr Kind kinds[]{Kind::crashed, Kind::memory, Kind::too_large, Kind::timeout,
                                  Kind::crashed};
    proto::Failure failure;
    failure.kind = missing ? Kind::missing : random_.one_of(kinds);
    failure.k = run.task.value;
    failure.i = run.instance.value;
    failure.message = "why";
    Call *call = reported(id, run.task, run.instance.value);
    say(text(id) + ": " + serial_of(call_of(run.task)) +
        " fails: " + std::string(name_of(failure.kind)) + (call ? "" : " (stale)"));
    if (call) {
        call->at.reset();
        switch (failure.kind) {
        case Kind::memory:
        case Kind::timeout: call->killed++; break;
        case Kind::too_large: call->too_large++; break;
        default: call->lost++;
        }
    }
    test::must(on_failed(reactor(), id, std::move(failure)));
}

void World::copy(WorkerId id, Worker &worker) {
    if (worker.fetching.empty()) return;
    auto [data, from] = *std::next(worker.fetching.begin(),
                                   static_cast<long>(random_.below(worker.fetching.size())));
    worker.fetching.erase(data);
    Worker *source = at(from);
    bool there = source && source->alive && source->store.contains(data);
    Call *call = call_of(data);
    auto &here = known.at(id);
    if (there && (draining_ || !random_.once_in(8))) {
        say(text(id) + " has copied " + serial_of(call));
        worker.store.insert(data);
        files_.insert(file_of(worker.slurm_task, data));
        if (here.fetching.erase(data) > 0) here.values.insert(data);
        on_fetched(reactor(), id, data);
        return;
    }
    say(text(id) + " cannot copy " + serial_of(call) + " from " + from);
    here.fetching.erase(data);
    if (random_.once_in(2)) {
        if (call) call->crowded++;
        return on_unfetched(reactor(), id, {data.value, "no room", true});
    }
    if (call) call->lost++;
    losing = true;
    on_unfetched(reactor(), id, {data.value, "connection refused"});
    losing = false;
}

// A call that runs becomes a client, or goes on where its tasks have ended.
void World::nest(WorkerId id, Worker &worker) {
    if (worker.running.empty()) return;
    auto at = random_.below(worker.running.size());
    if (worker.running[at].nested.value != 0 || clients_.size() > 8) return;
    if (core.tasks.size() > 50) return;
    // It keeps its resources while it waits: for tasks that need the same it would for ever.
    const Call *call = call_of(worker.running[at].task);
    if (!call || !call->needs.resources.empty()) return;
    auto client = connect(1);
    worker.running[at].nested = client;
    say(text(id) + ": " + serial_of(call_of(worker.running[at].task)) + " becomes client " +
        std::to_string(client.value));
    submit(client, clients_.at(client));
    tell_blocked(id, worker);
}

void World::tell_blocked(WorkerId id, const Worker &worker) {
    if (!known.contains(id)) return;
    on_blocked(reactor(), id,
               static_cast<std::uint64_t>(std::ranges::count_if(
                   worker.running, [](const auto &run) { return run.nested.value != 0; })));
}

// Reports of what the worker has not, or no more, or not under that instance.
void World::stale(WorkerId id) {
    if (serials.empty()) return;
    std::uint64_t serial = 1 + random_.below(last_serial_);
    auto found = calls.find(serial);
    if (found == calls.end() || found->second.id.value == 0) return;
    const Call &call = found->second;
    auto instance = call.instance + random_.below(3) - 1;
    if (reported(id, call.id, instance)) return; // that would count
    say(text(id) + " tells stale news of call " + std::to_string(serial));
    switch (random_.below(4)) {
    case 0: {
        proto::Done done{{call.id.value}, {instance}, {1}, {random_.below(2)}, {1}, "x"};
        test::must(on_done(reactor(), id, done));
        break;
    }
    case 1: {
        proto::Failure failure;
        failure.k = call.id.value;
        failure.i = instance;
        test::must(on_failed(reactor(), id, failure));
        break;
    }
    case 2: on_retracted(reactor(), id, {{call.id.value}, {instance}}); break;
    default:
        if (known.at(id).fetching.contains(call.id)) return;
        if (random_.once_in(2))
            on_fetched(reactor(), id, call.id);
        else
            on_unfetched(reactor(), id, {call.id.value, "stale"});
    }
}

void World::die(WorkerId id, Worker &worker) {
    say(text(id) + " dies");
    worker.alive = false;
    for (auto task : worker.store) files_.erase(file_of(worker.slurm_task, task));
    worker.store.clear();
    worker.inbox.clear();
    for (const auto &run : worker.running)
        if (auto found = clients_.find(run.nested); found != clients_.end())
            found->second.dying = true;
    worker.running.clear();
}

void World::lose(WorkerId id, const char *why) {
    say(text(id) + " is lost");
    left(id);
    workers_.erase(id);
    on_worker_lost(reactor(), id, why);
}

void World::unfit() {
    std::uint64_t task = random_.below(core.settings.expected);
    for (const auto &[id, worker] : workers_)
        if (worker.slurm_task == task) return;
    say("task " + std::to_string(task) + " is unfit");
    on_unfit(reactor(), {"n", "no executor starts", task});
}

World::Worker *World::at(const std::string &address) {
    for (auto &[id, there] : known)
        if (there.about.address == address) return &workers_.at(id);
    return nullptr;
}

bool World::work(WorkerId id, Worker &worker) {
    bool had = !worker.inbox.empty() || !worker.queue.empty() || !worker.running.empty() ||
               !worker.fetching.empty();
    while (!worker.inbox.empty()) take(id, worker);
    while (!worker.fetching.empty()) copy(id, worker);
    for (auto n = worker.queue.size(); n > 0; n--) start(id, worker);
    finish(id, worker);
    return had;
}

} // namespace dtask::model

// SPDX-License-Identifier: Apache-2.0
#include "tests/model/world.h"

#include <algorithm>

#include "tests/unit/stage.h"

namespace dtask::model {

namespace {

constexpr std::size_t most_live_tasks = 60; // the checks look at each of them
constexpr std::size_t story_length = 60;

} // namespace

World::World(std::uint64_t seed) : random_(seed) {
    core.settings.expected = 3 + random_.below(4);
    core.started_us = clock.now_us();
}

void World::say(std::string what) {
    story_.push_back(std::to_string(events_) + ": " + std::move(what));
    if (story_.size() > story_length) story_.pop_front();
}

void World::check() {
    test::check_invariants(core);
    compare();
}

void World::turn() {
    turns_++;
    if (known.empty() && core.unfit.size() >= core.settings.expected) none_was_left = true;
    if (alone_for_long()) none_was_left = true;
    dispatch(reactor());
    check();
}

void World::step() {
    events_++;
    clock.advance(static_cast<std::int64_t>(random_.below(20'000)));
    event();
    check();
    if (!random_.once_in(4)) turn();
}

void World::event() {
    bool crowded = core.tasks.size() > most_live_tasks;
    auto kind = random_.below(100);
    if (kind < 3) {
        begin_worker();
    } else if (kind < 5) {
        pass_time();
    } else if (kind == 5) {
        unfit();
    } else if (kind < 8 && clients_.size() < 6 && !crowded) {
        connect(0);
    } else if (kind < 40 && !clients_.empty()) {
        auto it = std::next(clients_.begin(), static_cast<long>(random_.below(clients_.size())));
        client_event(it->first, it->second);
    } else if (!workers_.empty()) {
        auto it = std::next(workers_.begin(), static_cast<long>(random_.below(workers_.size())));
        worker_event(it->first, it->second);
    }
}

void World::drain() {
    draining_ = true;
    say("drain");
    std::vector<WorkerId> gone;
    for (auto &[id, worker] : workers_) {
        worker.silent = false;
        if (!worker.alive) gone.push_back(id);
    }
    for (auto id : gone) lose(id, "it died");
    while (workers_.size() < core.settings.expected) begin_worker();
    for (int rounds = 0;; rounds++) {
        events_++;
        bool idle = true;
        std::vector<ClientId> clients;
        for (auto &[id, client] : clients_) clients.push_back(id);
        for (auto id : clients) {
            auto found = clients_.find(id);
            if (found == clients_.end()) continue; // it went with its parent
            Client &client = found->second;
            if (client.dying) {
                lose(id);
                idle = false;
                continue;
            }
            if (client.open) complete(id, client);
            while (!client.inbox.empty()) read(id, client);
            for (auto [key, place] : std::map(client.places)) fetch_kept(id, client);
            for (auto [key, place] : std::map(client.places)) release(id, client);
            idle = idle && is_done(client);
        }
        std::vector<WorkerId> workers;
        for (auto &[id, worker] : workers_) workers.push_back(id);
        for (auto id : workers)
            if (work(id, workers_.at(id))) idle = false;
        check();
        turn();
        if (idle) break;
        if (rounds > 20'000) broken("what is left to do does not come to an end");
    }
    for (const auto &[id, client] : core.clients)
        if (!client.broken_promises.empty()) broken("a failure is kept that nobody needs");
    if (!core.tasks.empty()) broken(std::to_string(core.tasks.size()) + " tasks are left");
    while (!clients_.empty()) lose(clients_.begin()->first);
    turn();
    for (auto &[id, worker] : workers_)
        while (!worker.inbox.empty()) take(id, worker);
    for (const auto &[serial, call] : calls)
        if (call.wanted && call.told == Call::Told::nothing && !call.released &&
            keys.contains(call.client))
            broken("call " + std::to_string(serial) + " was never told");
    if (!core.functions.empty() || !core.failures.empty() || !core.restricted.empty() ||
        !core.ready.empty() || core.answering > 0)
        broken("the core is not empty");
    for (const auto &[id, there] : known)
        if (!there.values.empty() || !there.fetching.empty() || !there.functions.empty())
            broken(there.about.name + " keeps what nobody needs");
    for (const auto &[id, worker] : workers_)
        if (!worker.store.empty()) broken("a store keeps what nobody needs");
}

void World::deliver(WorkerId to, Order order) {
    order.turn = turns_;
    if (auto found = workers_.find(to); found != workers_.end())
        found->second.inbox.push_back(std::move(order));
}

void World::deliver(ClientId to, News news) { clients_.at(to).inbox.push_back(std::move(news)); }

void World::dropped(WorkerId id) {
    left(id);
    dropped_.push_back(id);
}

void World::pass_time() {
    say("time passes");
    // Ticks come in time, or else the scheduler would think that it was stopped itself.
    constexpr std::int64_t step_us = 4'000'000;
    for (auto steps = 1 + random_.below(10); steps > 0; steps--) {
        for (auto &[id, worker] : workers_)
            if (worker.alive && !worker.silent)
                on_stat(reactor(), id, {.memory = random_.below(1000)});
        clock.advance(step_us);
        on_tick(reactor());
    }
    for (auto id : std::exchange(dropped_, {})) {
        say("worker " + std::to_string(id.value) + " was dropped");
        die(id, workers_.at(id));
        workers_.erase(id);
    }
}

} // namespace dtask::model

// SPDX-License-Identifier: Apache-2.0
// The clients of the world.
#include <algorithm>
#include <utility>

#include "tests/model/world.h"
#include "tests/unit/unit.h"

namespace dtask::model {

namespace {

using View = std::uint64_t;
std::string text(ClientId id) { return "client " + std::to_string(id.value); }

} // namespace

void World::client_event(ClientId id, Client &client) {
    if (client.dying) {
        if (random_.once_in(3)) lose(id);
        return;
    }
    bool crowded = core.tasks.size() > 60;
    switch (random_.below(16)) {
    case 0: return send_function(id, client);
    case 1:
    case 2: return crowded ? read(id, client) : submit(id, client);
    case 3:
    case 4:
    case 5: return crowded ? complete(id, client) : graph(id, client);
    case 6: return complete(id, client);
    case 7: return cancel(id, client);
    case 8:
    case 9:
    case 10: return read(id, client);
    case 11:
    case 12: return fetch_kept(id, client);
    case 13: return release(id, client);
    case 14:
        if (random_.once_in(4)) mischief(id, client);
        return;
    default:
        if (random_.once_in(12)) lose(id);
    }
}

ClientId World::connect(std::uint64_t depth) {
    auto id = on_new_client(reactor());
    say(text(id) + " connects");
    keys[id];
    Client &client = clients_[id];
    client.depth = depth;
    send_function(id, client);
    return id;
}

void World::send_function(ClientId id, Client &client) {
    if (client.functions > 3) return;
    auto f = ++client.functions;
    auto pickled = "c" + std::to_string(id.value) + "f" + std::to_string(f);
    test::must(on_function(reactor(), id, {f, "f" + std::to_string(f), pickled}));
}

proto::Terms World::terms(const Client &client) {
    proto::Terms terms;
    if (random_.once_in(3)) terms.retries = random_.below(3);
    if (random_.once_in(3)) terms.priority = static_cast<std::int64_t>(random_.below(5)) - 2;
    terms.priority += static_cast<std::int64_t>(client.depth) * 10;
    if (random_.once_in(5)) terms.timeout_ms = 1 + random_.below(1000);
    static const char *const nodes[]{"a", "b", "c", "z"};
    // Mostly what one of the workers has, and now and then what none will ever have.
    if (random_.once_in(6))
        terms.needs.workers = {nodes[random_.below(16) == 0 ? 3 : random_.below(3)]};
    if (random_.once_in(6)) terms.needs.resources = {{"gpu", 1 + random_.below(2)}};
    if (random_.once_in(12))
        terms.needs.resources["cpus"] = 1 + random_.below(random_.once_in(8) ? 9 : 4);
    return terms;
}

Call &World::new_call(ClientId id, Client &client, std::uint64_t f, const proto::Terms &terms) {
    Call call;
    call.serial = ++last_serial_;
    call.client = id;
    call.key = ++client.last_key;
    call.function = "c" + std::to_string(id.value) + "f" + std::to_string(f);
    call.needs = terms.needs;
    call.retries = terms.retries;
    call.timeout_ms = terms.timeout_ms;
    call.wanted = true;
    keys[id][call.key] = call.serial;
    return calls.emplace(call.serial, std::move(call)).first->second;
}

void World::submit(ClientId id, Client &client) {
    proto::Submit message;
    static_cast<proto::Terms &>(message) = terms(client);
    message.f = 1 + random_.below(client.functions);
    for (auto n = 1 + random_.below(5); n > 0; n--) {
        const Call &call = new_call(id, client, message.f, message);
        auto args = std::to_string(call.serial);
        message.k.push_back(call.key);
        message.len.push_back(args.size());
        message.payload += args;
        client.tasks[call.key] = Client::View::pending;
    }
    say(text(id) + " submits " + std::to_string(message.k.size()) + " up to call " +
        std::to_string(last_serial_));
    test::must(on_submit(reactor(), id, message));
}

void World::graph(ClientId id, Client &client) {
    proto::Graph message;
    static_cast<proto::Terms &>(message) = terms(client);
    if (!std::exchange(client.open, true)) client.last_graph++;
    message.graph = client.last_graph;
    std::string shape;
    for (auto n = 1 + random_.below(6); n > 0; n--) {
        auto f = 1 + random_.below(client.functions);
        // What it may name: this graph's, and values that it keeps.
        std::vector<std::uint64_t> named = client.members;
        for (const auto &[key, place] : client.places) named.push_back(key);
        Call &call = new_call(id, client, f, message);
        call.wanted = random_.once_in(3);
        if (call.wanted) client.tasks[call.key] = Client::View::pending;
        auto inputs = named.empty() ? 0 : random_.below(4);
        shape += " " + std::to_string(call.serial) + (call.wanted ? "!(" : "(");
        for (auto left = inputs; left > 0; left--) {
            // Mostly one of the last: long chains.
            auto at = random_.once_in(2)
                          ? named.size() - 1 - random_.below(std::min<std::size_t>(named.size(), 3))
                          : random_.below(named.size());
            message.in.push_back(named[at]);
            call.inputs.push_back(keys.at(id).at(named[at]));
            shape += " " + std::to_string(call.inputs.back());
        }
        shape += ")";
        auto args = std::to_string(call.serial);
        message.f.push_back(f);
        message.k.push_back(call.key);
        message.inputs.push_back(inputs);
        message.wanted.push_back(call.wanted);
        message.len.push_back(args.size());
        message.payload += args;
        client.members.push_back(call.key);
    }
    message.complete = random_.once_in(2);
    say(text(id) + " sends a graph" + shape + (message.complete ? ", complete" : ""));
    if (message.complete) {
        client.open = false;
        client.members.clear();
    }
    test::must(on_graph(reactor(), id, message));
}

void World::complete(ClientId id, Client &client) {
    if (!client.open) return;
    say(text(id) + " completes its graph");
    proto::Graph message;
    message.graph = client.last_graph;
    message.complete = true;
    client.open = false;
    client.members.clear();
    test::must(on_graph(reactor(), id, message));
}

void World::cancel(ClientId id, Client &client) {
    proto::Column column;
    for (const auto &[key, view] : client.tasks)
        if (view == Client::View::pending && random_.once_in(4)) column.push_back(key);
    if (random_.once_in(8)) column.push_back(random_.below(client.last_key + 2));
    for (auto key : column)
        if (auto found = keys.at(id).find(key); found != keys.at(id).end()) {
            calls.at(found->second).cancelled = true;
            say(text(id) + " cancels call " + std::to_string(found->second));
        }
    on_cancel(reactor(), id, column);
}

void World::read(ClientId id, Client &client) {
    for (auto n = 1 + random_.below(3); n > 0 && !client.inbox.empty(); n--) {
        auto news = std::move(client.inbox.front());
        client.inbox.pop_front();
        auto &view = client.tasks.at(news.key);
        if (view == Client::View::ended) broken("a client is told what it has released");
        bool kept = view == Client::View::kept;
        view = news.place || (kept && news.value) ? Client::View::kept : Client::View::ended;
        client.places.erase(news.key);
        if (view == Client::View::kept) client.places.emplace(news.key, news);
        if (!kept || view == Client::View::kept) continue;
        calls.at(keys.at(id).at(news.key)).released = true;
        on_release(reactor(), id, {news.key});
    }
}

// It asks the worker for the value; where it is not there, the scheduler.
void World::fetch_kept(ClientId id, Client &client) {
    if (client.places.empty()) return;
    auto it =
        std::next(client.places.begin(), static_cast<long>(random_.below(client.places.size())));
    auto place = it->second;
    if (!place.place) return; // it has the value
    Worker *there = at(place.at);
    bool has = there && there->alive && !there->silent && there->store.contains(place.data);
    bool mistaken = has && !draining_ && random_.once_in(10);
    if (has && !mistaken) return;
    // It waits for the answer with what it asks for.
    client.places.erase(it);
    Call &call = call_of(id, place.key);
    say(text(id) + " has lost call " + std::to_string(call.serial) + " at " + place.at);
    call.lost++;
    losing = true;
    on_lost_value(reactor(), id, {place.key, place.at});
    losing = false;
}

void World::release(ClientId id, Client &client) {
    if (client.places.empty()) return;
    auto key =
        std::next(client.places.begin(), static_cast<long>(random_.below(client.places.size())))
            ->first;
    Call &call = call_of(id, key);
    say(text(id) + " releases call " + std::to_string(call.serial));
    call.released = true;
    client.places.erase(key);
    client.tasks.at(key) = Client::View::ended;
    // What it was told meanwhile goes unread.
    std::erase_if(client.inbox, [&](const News &news) { return news.key == key; });
    on_release(reactor(), id, {key});
}

// What no client sends that is right in its mind. The server closes it where
// the reactor says so.
void World::mischief(ClientId id, Client &client) {
    say(text(id) + " sends what is wrong");
    Result<void> ok;
    auto some_key = 1 + random_.below(client.last_key + 3);
    switch (random_.below(7)) {
    case 0: ok = on_function(reactor(), id, {1, "again", "x"}); break;
    case 1: {
        proto::Submit message;
        message.f = 99;
        message.k = {client.last_key + 1};
        message.len = {0};
        ok = on_submit(reactor(), id, message);
        break;
    }
    case 2: { // a key that may be in use
        if (client.last_key == 0 || !core.clients.at(id).tasks.contains(some_key)) return;
        proto::Submit message;
        message.f = 1;
        message.k = {some_key};
        message.len = {0};
        ok = on_submit(reactor(), id, message);
        break;
    }
    case 3:
    case 4: { // an input that nobody named, behind tasks that are right
        proto::Graph message;
        message.graph = client.open ? client.last_graph : client.last_graph + 1;
        for (auto n = 1 + random_.below(3); n > 0; n--) {
            Call &call = new_call(id, client, 1, message);
            call.wanted = true;
            auto args = std::to_string(call.serial);
            message.f.push_back(1);
            message.k.push_back(call.key);
            message.inputs.push_back(n == 1);
            message.wanted.push_back(1);
            message.len.push_back(args.size());
            message.payload += args;
            client.tasks[call.key] = Client::View::pending;
        }
        message.in.push_back(client.last_key + random_.below(3));
        ok = on_graph(reactor(), id, message);
        if (ok) broken("a graph is taken whose input nobody named");
        break;
    }
    case 5: on_lost_value(reactor(), id, {client.last_key + 7, "nowhere"}); return;
    default: on_release(reactor(), id, {client.last_key + 7, 0}); return;
    }
    if (!ok) lose(id);
}

void World::lose(ClientId id) {
    say(text(id) + " leaves");
    keys.erase(id);
    clients_.erase(id);
    on_client_lost(reactor(), id);
    for (auto &[worker_id, worker] : workers_)
        for (auto &run : worker.running)
            if (run.nested == id) {
                run.nested = {};
                if (worker.alive && !worker.silent) tell_blocked(worker_id, worker);
            }
}

bool World::is_done(const Client &client) const {
    if (client.open || !client.inbox.empty() || !client.places.empty()) return false;
    return std::ranges::all_of(
        client.tasks, [](const auto &entry) { return entry.second == Client::View::ended; });
}

} // namespace dtask::model

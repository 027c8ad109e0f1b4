// SPDX-License-Identifier: Apache-2.0
#include "tests/model/ledger.h"

#include <algorithm>
#include <utility>

namespace dtask::model {

namespace {

std::string text(TaskId id) { return "task " + std::to_string(id.value); }
std::string text(WorkerId id) { return "worker " + std::to_string(id.value); }
std::string text(const Call &call) { return "call " + std::to_string(call.serial); }

} // namespace

std::string value_of(std::uint64_t serial) { return "v" + std::to_string(serial); }

Call &Ledger::call_of(ClientId client, std::uint64_t key) {
    auto here = keys.find(client);
    if (here == keys.end()) broken("a client that has left is told of " + std::to_string(key));
    auto found = here->second.find(key);
    if (found == here->second.end())
        broken("a client is told of " + std::to_string(key) + ", which it never sent");
    return calls.at(found->second);
}

Call *Ledger::call_of(TaskId id) {
    auto found = serials.find(id);
    return found == serials.end() ? nullptr : &calls.at(found->second);
}

Call *Ledger::reported(WorkerId worker, TaskId id, std::uint64_t instance) {
    Call *call = call_of(id);
    return call && call->at == worker && call->instance == instance ? call : nullptr;
}

void Ledger::left(WorkerId id) {
    // What calls read of its store has gone; the next worker of its task has the same store.
    if (auto found = known.find(id); found != known.end())
        for (auto &[serial, call] : calls)
            std::erase_if(call.reads, [store = found->second.about.store + '/'](const auto &path) {
                return path.starts_with(store);
            });
    known.erase(id);
    if (known.empty()) alone_since_us = clock.now_us();
    for (auto &[serial, call] : calls) {
        if (call.at != id) continue;
        call.at.reset();
        call.lost++;
    }
}

Known &Ledger::worker(WorkerId id) {
    auto found = known.find(id);
    if (found == known.end()) broken(text(id) + " is sent something, and has left");
    return found->second;
}

void Ledger::compare() {
    core.tasks.each([&](TaskId id, const scheduler::Task &task) {
        if (task.state != scheduler::Task::State::ended || task.failed) return;
        Call *call = call_of(id);
        if (!call) broken(text(id) + " has ended and never ran");
        // 1: a record whose value is gone.
        if (task.size > 1 && task.size != call->size) broken(text(*call) + " has another size");
        if (task.size == 0 && task.body.view() != value_of(call->serial))
            broken(text(*call) + " has the value \"" + std::string(task.body.view()) + "\"");
        for (const auto &copy : task.copies) {
            const auto &holder = known.at(copy.worker);
            if (!(copy.there ? holder.values : holder.fetching).contains(id))
                broken(text(copy.worker) + " is thought to have " + text(*call));
        }
    });
    for (const auto &[id, worker] : core.workers)
        if (!known.contains(id)) broken(text(id) + " is in the core and has left");
    if (core.workers.size() != known.size()) broken("a worker is not in the core");
    if (core.clients.size() != keys.size()) broken("not all clients are in the core");
}

void Ledger::function(WorkerId to, FunctionId f, std::string_view, std::string_view pickled,
                      std::uint64_t) {
    if (!worker(to).functions.insert(f).second) broken("a function is sent twice to " + text(to));
    pickled_[f] = pickled;
}

void Ledger::check_input(const Known &to, const scheduler::Input &input, Call &source,
                         Call &reader) {
    if (!input.held) {
        if (input.bytes != value_of(source.serial))
            broken(text(reader) + " gets \"" + std::string(input.bytes) + "\" of " + text(source));
        return;
    }
    reader.reads.emplace_back(input.bytes);
    for (const auto &[id, holder] : known)
        if (holder.about.node == to.about.node && holder.values.contains(source.id) &&
            holder.about.store + '/' + std::to_string(source.id.value) == input.bytes)
            return;
    broken(text(reader) + " gets " + std::string(input.bytes) + " of " + text(source) +
           ", which is not on " + to.about.node);
}

void Ledger::check_needs(WorkerId to, const Call &call) {
    const auto &about = worker(to).about;
    const auto &names = call.needs.workers;
    auto is_it = [&](const std::string &name) {
        return name == about.name || name == about.node || name == about.address;
    };
    if (!names.empty() && std::ranges::none_of(names, is_it))
        broken(text(call) + " is sent to " + about.name + ", which it must not");
    for (const auto &[name, amount] : call.needs.resources) {
        std::uint64_t used = 0;
        for (const auto &[serial, other] : calls)
            if (other.at == to && other.needs.resources.contains(name))
                used += other.needs.resources.at(name);
        auto has = about.resources.find(name);
        auto all = name == "cpus" ? about.nthreads : has == about.resources.end() ? 0 : has->second;
        if (used + amount > all)
            broken(about.name + " has not enough " + name + " for " + text(call));
    }
}

void Ledger::run(WorkerId to, FunctionId f, TaskId id, InstanceId instance,
                 std::uint32_t timeout_ms, std::span<const scheduler::Input> inputs,
                 std::string_view args) {
    auto &there = worker(to);
    if (!there.functions.contains(f)) broken("a task is sent before its function");
    auto found = calls.find(std::stoull(std::string(args)));
    if (found == calls.end()) broken("nobody submitted \"" + std::string(args) + "\"");
    Call &call = found->second;
    if (pickled_.at(f) != call.function) broken(text(call) + " runs another function");
    if (!keys.contains(call.client)) broken(text(call) + " runs, and its client has left");
    if (call.at) broken(text(call) + " is sent to two workers");
    if (instance.value <= call.instance) broken(text(call) + " runs under an old instance");
    if (call.small) broken(text(call) + " runs, and its value is known");
    if (call.timeout_ms != timeout_ms) broken(text(call) + " has another time limit");
    if (call.id.value != 0 && call.id != id) broken(text(call) + " has two numbers");
    for (const auto &[other, holder] : known)
        if (holder.values.contains(id)) broken(text(call) + " runs, and its value is kept");
    call.id = id;
    serials[id] = call.serial;
    check_needs(to, call);
    call.at = to;
    call.instance = instance.value;
    call.reads.clear();
    if (inputs.size() != call.inputs.size()) broken(text(call) + " has not all its inputs");
    for (std::size_t n = 0; n < inputs.size(); n++)
        check_input(there, inputs[n], calls.at(call.inputs[n]), call);
    deliver(to, {Order::Kind::run, id, instance, {}});
}

void Ledger::retract(WorkerId to, TaskId id, InstanceId instance) {
    if (!reported(to, id, instance.value)) broken(text(id) + " is asked back from the wrong place");
    deliver(to, {Order::Kind::retract, id, instance, {}});
}

void Ledger::kill(WorkerId to, TaskId id, InstanceId instance) {
    Call *call = reported(to, id, instance.value);
    if (!call && in_one_report.erase(id) > 0) {
        call = call_of(id);
        call->small = false; // that row does not count any more
    }
    if (!call) broken(text(id) + " is killed in the wrong place");
    call->at.reset();
    deliver(to, {Order::Kind::kill, id, instance, {}});
}

void Ledger::forget(WorkerId to, FunctionId f) {
    if (worker(to).functions.erase(f) == 0) broken(text(to) + " is to forget what it never had");
}

void Ledger::fetch(WorkerId to, TaskId id, std::uint64_t size, std::string_view from) {
    auto &there = worker(to);
    Call *call = call_of(id);
    if (!call || call->size != size) broken("another size of " + text(id) + " is fetched");
    bool had = std::ranges::any_of(known, [&](const auto &entry) {
        return entry.second.about.address == from && entry.second.values.contains(id);
    });
    if (!had) broken(text(id) + " is fetched from " + std::string(from) + ", which has it not");
    if (there.values.contains(id) || !there.fetching.insert(id).second)
        broken(text(id) + " is fetched twice by " + text(to));
    deliver(to, {Order::Kind::fetch, id, {}, std::string(from)});
}

void Ledger::free(WorkerId to, TaskId id) {
    auto found = known.find(to);
    if (found == known.end()) return; // it is being lost
    auto path = found->second.about.store + '/' + std::to_string(id.value);
    for (auto &[serial, call] : calls) {
        if (!call.at || std::ranges::count(call.reads, path) == 0 ||
            known.at(*call.at).about.node != found->second.about.node)
            continue;
        // What was lost has gone from under the call; one that comes in its place is not its own.
        if (losing)
            std::erase(call.reads, path);
        else
            broken(path + " is freed, and " + text(call) + " reads it");
    }
    found->second.values.erase(id);
    found->second.fetching.erase(id);
    deliver(to, {Order::Kind::free, id, {}, {}});
}

void Ledger::drop_worker(WorkerId id) { dropped(id); }

Call &Ledger::told(ClientId client, std::uint64_t key) {
    Call &call = call_of(client, key);
    if (!call.wanted) broken(text(call) + " is told, and not wanted");
    if (call.released) broken(text(call) + " is told, and was released");
    if (call.told == Call::Told::end) broken(text(call) + " is told twice");
    return call;
}

void Ledger::result(ClientId to, std::uint64_t key, std::string_view value) {
    Call &call = told(to, key);
    if (!call.small || value != value_of(call.serial))
        broken(text(call) + " is told to be \"" + std::string(value) + "\"");
    call.told = Call::Told::end;
    deliver(to, {key, false, true, {}, {}});
}

void Ledger::stored(ClientId to, std::uint64_t key, TaskId id, std::uint64_t size,
                    std::string_view at) {
    Call &call = told(to, key);
    if (call.id != id || call.size != size) broken(text(call) + " is told with a wrong place");
    bool there = std::ranges::any_of(known, [&](const auto &entry) {
        return entry.second.about.address == at && entry.second.values.contains(id);
    });
    if (!there) broken(text(call) + " is told to be at " + std::string(at) + ", and is not");
    call.told = Call::Told::place;
    deliver(to, {key, true, false, std::string(at), id});
}

// A failure has a cause: in the call, or in what it needs.
void Ledger::check_cause(const Call &call, const proto::Failure &failure) {
    using Kind = proto::FailureKind;
    auto is_cause = [&](const Call &c) {
        switch (failure.kind) {
        case Kind::raised:
            return failure.payload == "e" + std::to_string(c.serial) && c.raised > 0 &&
                   c.raised + c.killed > c.retries;
        case Kind::memory:
        case Kind::timeout: return c.killed > 0 && c.raised + c.killed > c.retries;
        case Kind::too_large: return c.too_large > 0;
        case Kind::crashed: return c.lost > 0 && failure.tries == core.settings.max_tries;
        case Kind::lost: return c.lost > 0 || none_was_left;
        case Kind::cancelled: return c.cancelled;
        case Kind::unsuited: return !c.needs.empty();
        case Kind::full: return c.crowded > 0 && failure.tries == core.settings.max_tries;
        case Kind::missing: return false;
        }
        return false;
    };
    std::vector<std::uint64_t> left{call.serial};
    std::set<std::uint64_t> seen;
    while (!left.empty()) {
        auto serial = left.back();
        left.pop_back();
        if (!seen.insert(serial).second) continue;
        const Call &c = calls.at(serial);
        if (is_cause(c)) return;
        left.insert(left.end(), c.inputs.begin(), c.inputs.end());
    }
    broken(text(call) + " failed without a cause: " + std::string(name_of(failure.kind)) + " " +
           failure.message + failure.payload);
}

bool Ledger::alone_for_long() const {
    return alone_since_us && clock.now_us() - *alone_since_us > core.settings.lonely_us;
}

void Ledger::failed(ClientId to, proto::Failure failure) {
    Call &call = told(to, failure.k);
    check_cause(call, failure);
    call.told = Call::Told::end;
    deliver(to, {failure.k, false, false, {}, {}});
}

void Ledger::workers_changed(proto::WorkerCount) {}

} // namespace dtask::model

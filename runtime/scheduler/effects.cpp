// SPDX-License-Identifier: Apache-2.0
// The server as the reactor's Comm: effects become frames in the outboxes of peers.
#include "runtime/scheduler/server.h"

#include <utility>

namespace dtask::scheduler {

Outbox *Server::outbox(ConnectionId id) {
    auto found = peers_.find(id);
    if (found == peers_.end()) return nullptr;
    if (!std::exchange(found->second.dirty, true)) dirty_.push_back(id);
    return found->second.outbox.get();
}

Outbox *Server::outbox(WorkerId id) {
    auto found = worker_peers_.find(id);
    return found == worker_peers_.end() ? nullptr : outbox(found->second);
}

Outbox *Server::outbox(ClientId id) {
    auto found = client_peers_.find(id);
    return found == client_peers_.end() ? nullptr : outbox(found->second);
}

void Server::function(WorkerId to, FunctionId f, std::string_view name, std::string_view pickled,
                      std::uint64_t cpus) {
    if (auto *out = outbox(to))
        out->frame(
            proto::encode(proto::Function{f.value, std::string(name), std::string(pickled), cpus}));
}

void Server::run(WorkerId to, FunctionId f, TaskId task, InstanceId instance,
                 std::uint32_t timeout_ms, std::span<const Input> inputs, std::string_view args) {
    if (auto *out = outbox(to)) out->run(f, task, instance, timeout_ms, inputs, args);
}

void Server::retract(WorkerId to, TaskId task, InstanceId instance) {
    if (auto *out = outbox(to)) out->retract(task, instance);
}

void Server::kill(WorkerId to, TaskId task, InstanceId instance) {
    if (auto *out = outbox(to)) out->kill(task, instance);
}

void Server::forget(WorkerId to, FunctionId f) {
    auto *out = outbox(to);
    if (!out) return;
    auto frame = proto::make_frame("forget");
    frame.header.set("f", proto::Column{f.value});
    out->frame(std::move(frame));
}

void Server::fetch(WorkerId to, TaskId data, std::uint64_t size, std::string_view from) {
    if (auto *out = outbox(to))
        out->frame(proto::encode(proto::Fetch{data.value, size, std::string(from)}));
}

void Server::free(WorkerId to, TaskId data) {
    if (auto *out = outbox(to)) out->free(data);
}

// The reactor already treats it as lost: only the connection is left to close.
void Server::drop_worker(WorkerId worker) {
    auto found = worker_peers_.find(worker);
    if (found == worker_peers_.end()) return;
    ConnectionId id = found->second;
    peers_.at(id).worker.reset();
    largest_known_ = false;
    worker_peers_.erase(found);
    leave(id, "silent");
}

void Server::result(ClientId to, std::uint64_t key, std::string_view value) {
    if (auto *out = outbox(to)) out->result(key, value);
}

void Server::stored(ClientId to, std::uint64_t key, TaskId data, std::uint64_t size,
                    std::string_view at) {
    if (auto *out = outbox(to))
        out->frame(proto::encode(proto::Stored{key, data.value, size, std::string(at)}));
}

void Server::failed(ClientId to, proto::Failure failure) {
    if (auto *out = outbox(to)) out->frame(proto::encode(std::move(failure)));
}

void Server::output(ClientId to, const proto::Output &output) {
    if (auto *out = outbox(to)) out->frame(proto::encode(output));
}

// Told once a turn: a large step's workers come many at a time.
void Server::workers_changed(proto::WorkerCount count) {
    new_count_ = count;
    end_turn_soon();
}

void Server::tell_count() {
    auto count = std::exchange(new_count_, {});
    if (!count || core_.settings.address.empty()) return;
    for (auto &[id, peer] : peers_)
        if (peer.client || peer.attached) peer.outbox->frame(proto::encode(*count));
}

} // namespace dtask::scheduler

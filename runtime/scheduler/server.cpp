// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/server.h"

#include <algorithm>
#include <ctime>

#include <malloc.h>

#include "lib/base/exit_codes.h"
#include "lib/base/log.h"
#include "runtime/scheduler/chronicle.h"
#include "runtime/scheduler/placement.h"

namespace dtask::scheduler {

namespace {

constexpr std::int64_t goodbye_ms = 1'000; // for peers to close after `bye`
constexpr std::int64_t late_ms = 3'000;    // into the end, for tasks that never came
constexpr std::int64_t tick_ms = 1'000;
constexpr std::size_t most_unproven = 512; // connections that have not proved themselves yet

} // namespace

Server::Server(ev::Loop &loop, const proto::Token &token, Settings settings,
               std::int64_t attach_timeout_ms)
    : loop_(loop), token_(token),
      attach_deadline_(loop,
                       [this] {
                           log::error("the task with the client has not come up in time");
                           end(exit_code::start_timeout, "start-up timed out");
                       }),
      end_deadline_(loop,
                    [this] {
                        log::info(std::to_string(peers_.size()) +
                                  " peers did not leave at the end");
                        while (!peers_.empty()) leave(peers_.begin()->first, "the step has ended");
                    }),
      linger_deadline_(loop, [this] { loop_.stop(); }), late_(loop, [this] { tell_missing(); }),
      trial_(loop, [this] { end_turn_soon(); }), tick_(loop, tick_ms, [this] {
          on_tick(reactor());
          give_memory_back();
          end_turn_soon();
      }) {
    core_.settings = std::move(settings);
    core_.started_us = clock_.now_us();
    core_.settings.began_s = std::time(nullptr);
    attach_deadline_.set(attach_timeout_ms);
    late_.set(attach_timeout_ms);
    start_timeout_us_ = attach_timeout_ms * 1000;
}

Server::~Server() = default;

Result<std::uint16_t> Server::listen(const std::string &host,
                                     const std::vector<std::uint16_t> &ports) {
    std::string why = "no port to try";
    for (auto port : ports) {
        auto listener =
            ev::Listener::bind(loop_, host, port, [this](Fd connection, std::string address) {
                on_accept(std::move(connection), std::move(address));
            });
        if (listener) {
            listeners_.push_back(std::move(*listener));
            listen_beside(listeners_.back()->port());
            return listeners_.front()->port();
        }
        why = listener.error().text();
    }
    return fail("none of " + std::to_string(ports.size()) + " ports is free; the last: " + why);
}

// For those on this machine. Without it they come by TCP.
void Server::listen_beside(std::uint16_t port) {
    auto listener =
        ev::Listener::bind_local(loop_, port, [this](Fd connection, std::string address) {
            on_accept(std::move(connection), std::move(address));
        });
    if (!listener) return log::info(listener.error().text());
    listeners_.push_back(std::move(*listener));
}

int Server::run() {
    loop_.run();
    if (refused_ > 1) log::warning(std::to_string(refused_) + " connections in all were refused");
    return exit_code_.value_or(exit_code::cluster_lost);
}

void Server::on_accept(Fd connection, std::string address) {
    if (unproven_.size() >= most_unproven) {
        refused_++;
        leave(unproven_.front(), "too many strangers");
    }
    ConnectionId id{++last_connection_};
    Peer &peer = peers_[id];
    peer.address = std::move(address);
    peer.link = proto::Link::accept(
        loop_, std::move(connection), token_,
        {.on_open = [this, id](proto::Role role) { on_open(id, role); },
         .on_frame = [this, id](proto::Frame frame) { on_frame(id, std::move(frame)); },
         .on_closed = [this, id](bool proven,
                                 const std::string &why) { on_closed(id, proven, why); }});
    peer.outbox = std::make_unique<Outbox>(*peer.link);
    unproven_.push_back(id);
}

void Server::on_open(ConnectionId id, proto::Role role) {
    std::erase(unproven_, id);
    Peer &peer = peers_.at(id);
    peer.role = role;
    // Of a worker the reactor hears each second.
    if (role != proto::Role::worker) peer.link->watch(core_.settings.silence_us / 1'000);
    if (role == proto::Role::client) {
        peer.client = on_new_client(reactor());
        client_peers_.emplace(*peer.client, id);
    }
    if (!core_.settings.address.empty()) greet(peer);
}

void Server::set_address(std::string address) {
    core_.settings.address = std::move(address);
    for (auto &[id, peer] : peers_)
        if (peer.role) greet(peer);
}

void Server::greet(Peer &peer) {
    peer.outbox->frame(proto::encode(welcome()));
    if (peer.attached) peer.outbox->frame(proto::encode(worker_count(core_)));
}

void Server::on_closed(ConnectionId id, bool proven, const std::string &why) {
    if (!proven) {
        // One line however many come: a log must not be filled by strangers.
        if (++refused_ == 1)
            log::warning("refused a connection from " + peers_.at(id).address + ": " +
                         (why.empty() ? "closed before its proof" : why) +
                         "; further ones are only counted");
    }
    leave(id, why.empty() ? "its connection was closed" : why);
}

// Forgets the peer and tells the reactor; called for peers that closed and for
// those that we close.
void Server::leave(ConnectionId id, const std::string &why) {
    auto found = peers_.find(id);
    if (found == peers_.end()) return;
    std::erase(unproven_, id);
    Peer peer = std::move(found->second);
    peers_.erase(found);
    peer.link->close();
    if (peer.worker) {
        worker_peers_.erase(*peer.worker);
        if (!exit_code_) log::info("worker lost: " + why);
        largest_known_ = false;
        on_worker_lost(reactor(), *peer.worker, why);
    }
    if (peer.client) {
        client_peers_.erase(*peer.client);
        on_client_lost(reactor(), *peer.client);
    }
    if (peer.attached && !exit_code_) {
        log::error("the launcher of the client was lost: " + why);
        end(exit_code::cluster_lost, "the client's launcher was lost");
    }
    dead_.push_back(std::move(peer));
    end_turn_soon();
}

void Server::on_frame(ConnectionId id, proto::Frame frame) {
    Peer &peer = peers_.at(id);
    auto asked = on_question(peer, frame);
    if (asked && *asked) return end_turn_soon();
    Result<void> ok;
    if (!asked) ok = fail_from(std::move(asked));
    if (ok) switch (*peer.role) {
        case proto::Role::client: ok = on_client_frame(peer, std::move(frame)); break;
        case proto::Role::worker: ok = on_worker_frame(id, peer, std::move(frame)); break;
        case proto::Role::control: ok = on_control_frame(id, peer, frame); break;
        case proto::Role::observer: ok = fail("an observer may ask only"); break;
        }
    if (!ok) {
        log::warning("closing the connection from " + peer.address + ": " + ok.error().text());
        leave(id, ok.error().text());
    }
    end_turn_soon();
}

Result<void> Server::on_client_frame(Peer &peer, proto::Frame frame) {
    std::string type = frame.type();
    if (type == "submit") {
        auto submit = proto::decode_submit(std::move(frame));
        if (!submit) return fail_from(std::move(submit), type);
        return on_submit(reactor(), *peer.client, *submit);
    }
    if (type == "graph") {
        auto graph = proto::decode_graph(std::move(frame));
        if (!graph) return fail_from(std::move(graph), type);
        return on_graph(reactor(), *peer.client, *graph);
    }
    if (type == "function") {
        auto function = proto::decode_function(std::move(frame));
        if (!function) return fail_from(std::move(function), type);
        if (function->cpus > 0) tally_.on_command();
        return on_function(reactor(), *peer.client, std::move(*function));
    }
    if (type == "cancel") {
        auto keys = frame.header.column("k");
        if (!keys) return fail_from(std::move(keys), type);
        on_cancel(reactor(), *peer.client, *keys);
        return {};
    }
    if (type == "release") {
        auto keys = frame.header.column("k");
        if (!keys) return fail_from(std::move(keys), type);
        on_release(reactor(), *peer.client, *keys);
        return {};
    }
    if (type == "lost") {
        auto lost = proto::decode_lost_value(frame);
        if (!lost) return fail_from(std::move(lost), type);
        on_lost_value(reactor(), *peer.client, *lost);
        return {};
    }
    return fail("\"" + type + "\" is no message of a client");
}

Result<void> Server::on_worker_frame(ConnectionId id, Peer &peer, proto::Frame frame) {
    std::string type = frame.type();
    if (type == "register") {
        auto about = proto::decode_register(frame.header);
        if (!about) return fail_from(std::move(about), type);
        if (peer.worker) return fail("registered twice");
        log::info("worker " + about->name + " on " + about->node + " has come");
        if (!about->without_group.empty()) tell_without_group(*about);
        if (about->nthreads > nthreads_) largest_known_ = false;
        peer.worker = on_new_worker(reactor(), std::move(*about));
        worker_peers_.emplace(*peer.worker, id);
        return {};
    }
    if (type == "here") {
        auto task = frame.header.natural("task");
        if (!task) return fail_from(std::move(task), type);
        core_.seen.insert(*task);
        if (exit_code_ || dismissed_) peer.outbox->frame(proto::encode_bye("the step has ended"));
        return {};
    }
    if (type == "died" && on_died_) {
        auto died = proto::decode_died(frame);
        if (!died) return fail_from(std::move(died), type);
        on_died_(*died);
        return {};
    }
    if (type == "unfit") {
        auto unfit = proto::decode_unfit(frame);
        if (!unfit) return fail_from(std::move(unfit), type);
        on_unfit_peer(id, std::move(*unfit));
        return {};
    }
    if (!peer.worker) return fail("\"" + type + "\" before it registered");
    if (type == "done") {
        auto done = proto::decode_done(std::move(frame));
        if (!done) return fail_from(std::move(done), type);
        if (timeline_) record(*timeline_, core_, *peer.worker, *done, age_us());
        return on_done(reactor(), *peer.worker, *done);
    }
    if (type == "failed") {
        auto failure = proto::decode_failure(std::move(frame));
        if (!failure) return fail_from(std::move(failure), type);
        if (timeline_) record(*timeline_, core_, *peer.worker, *failure, age_us());
        return on_failed(reactor(), *peer.worker, std::move(*failure));
    }
    if (type == "retracted") {
        auto refs = proto::decode_refs(frame);
        if (!refs) return fail_from(std::move(refs), type);
        on_retracted(reactor(), *peer.worker, *refs);
        return {};
    }
    if (type == "fetched") {
        auto data = proto::decode_datum(frame);
        if (!data) return fail_from(std::move(data), type);
        on_fetched(reactor(), *peer.worker, TaskId{*data});
        return {};
    }
    if (type == "unfetched") {
        auto unfetched = proto::decode_unfetched(frame);
        if (!unfetched) return fail_from(std::move(unfetched), type);
        on_unfetched(reactor(), *peer.worker, *unfetched);
        return {};
    }
    if (type == "output") {
        auto output = proto::decode_output(frame);
        if (!output) return fail_from(std::move(output), type);
        on_output(reactor(), *peer.worker, std::move(*output));
        return {};
    }
    if (type == "stat") {
        auto stat = proto::decode_stat(frame);
        if (!stat) return fail_from(std::move(stat), type);
        tally_.on_stat(*peer.worker, core_.workers.at(*peer.worker).about, *stat);
        on_stat(reactor(), *peer.worker, std::move(*stat));
        return {};
    }
    if (type == "blocked") {
        auto count = frame.header.natural("n");
        if (!count) return fail_from(std::move(count), type);
        on_blocked(reactor(), *peer.worker, *count);
        return {};
    }
    return fail("\"" + type + "\" is no message of a worker");
}

Result<void> Server::on_control_frame(ConnectionId id, Peer &peer, const proto::Frame &frame) {
    std::string type = frame.type();
    if (type == "attach") {
        peer.attached = true;
        attach_deadline_.cancel();
        if (!core_.settings.address.empty()) peer.outbox->frame(proto::encode(worker_count(core_)));
        return {};
    }
    if (type == "unfit") {
        auto unfit = proto::decode_unfit(frame);
        if (!unfit) return fail_from(std::move(unfit), type);
        on_unfit_peer(id, std::move(*unfit));
        return {};
    }
    if (type == "shutdown") {
        auto code = frame.header.natural("code");
        if (!code) return fail_from(std::move(code), type);
        end(0, stop_asked_ ? "it was stopped by dtask stop" : "the client has ended");
        return {};
    }
    return fail("\"" + type + "\" is no message of a launcher");
}

// A task of the step that cannot serve. It waits for us to close, unless it is
// the client's launcher, whose connection goes on.
void Server::on_unfit_peer(ConnectionId id, proto::Unfit unfit) {
    if (!core_.unfit.contains(unfit.task) && !exit_code_) {
        // An option that is wrong on one node is mostly so on all: "--option=value: why", once.
        bool wrong_option = unfit.message.starts_with("--");
        auto option = unfit.message.substr(0, unfit.message.find(": "));
        bool again = wrong_option && !told_unfit_.insert(option).second;
        log::write(again ? log::Level::info : log::Level::error,
                   "task " + std::to_string(unfit.task) + " on " + unfit.node +
                       " cannot serve: " + unfit.message);
    }
    bool stays = peers_.at(id).attached;
    if (!stays) leave(id, "unfit");
    on_unfit(reactor(), std::move(unfit));
}

// Nothing else would tell why the step waits, or why it is smaller than it should be.
void Server::tell_missing() {
    std::string tasks;
    for (auto task : core_.settings.tasks)
        if (!core_.seen.contains(task))
            tasks.append(tasks.empty() ? "" : ",").append(std::to_string(task));
    if (tasks.empty()) return;
    log::warning((exit_code_
                      ? "the step waits until its start-up time is over (--dtask-timeout) for "
                        "these tasks, which have not come: "
                      : "these tasks have not come in " +
                            std::to_string(start_timeout_us_ / 1'000'000) +
                            " s (--dtask-timeout), the step goes on without their workers: ") +
                 tasks +
                 (core_.settings.id.starts_with("0.") // without Slurm
                      ? ""
                      : "; where dtask's plugin is missing on a node, its tasks never come"));
}

// Said once for all workers: mostly it is so on every node.
void Server::tell_without_group(const proto::Register &about) {
    if (std::exchange(told_without_group_, true)) return;
    bool memory = about.without_group.find("memory") != std::string::npos;
    bool cpus = about.without_group.find("cpus") != std::string::npos;
    log::warning("no cgroup holds the workers' limits on " + about.node + ": " +
                 (memory ? "each worker watches the memory of its executors itself" : "") +
                 (memory && cpus ? ", and " : "") +
                 (cpus ? "nothing keeps them to their CPUs" : "") + " (said once)");
}

void Server::end(int code, const std::string &why) {
    if (exit_code_) return;
    exit_code_ = code;
    attach_deadline_.cancel();
    if (on_ending_) on_ending_();
    for (auto &[id, peer] : peers_)
        if (peer.role) peer.outbox->frame(proto::encode_bye(why, static_cast<std::uint64_t>(code)));
    // Those in the midst of their proof come to its end: they may be tasks that we wait for.
    end_deadline_.set(goodbye_ms);
    // A broken step ends at once: who comes later finds nobody, and ends too.
    auto left_us = code == exit_code::cluster_lost
                       ? 0
                       : core_.started_us + start_timeout_us_ - clock_.now_us();
    linger_deadline_.set(std::max(goodbye_ms, left_us / 1000));
    late_.set(late_ms);
    end_turn_soon();
}

void Server::dismiss_workers(const std::string &why) {
    dismissed_ = true;
    for (auto &[id, peer] : peers_)
        if (peer.role == proto::Role::worker) peer.outbox->frame(proto::encode_bye(why));
    end_turn_soon();
}

void Server::end_turn_soon() {
    if (std::exchange(turn_pending_, true)) return;
    loop_.post([this] { end_turn(); });
}

// Who asks afterwards why a task took two tries has only the log.
void Server::log_retries() {
    const auto &kept = core_.history.retries();
    auto fresh = core_.retried - std::exchange(logged_retries_, core_.retried);
    if (fresh > kept.size())
        log::info(std::to_string(fresh - kept.size()) + " tasks are tried again, and these:");
    for (auto n = kept.size() - std::min<std::size_t>(fresh, kept.size()); n < kept.size(); n++)
        log::info(kept[n].name + " is tried again: " +
                  (kept[n].worker.empty() ? "" : "on worker " + kept[n].worker + ": ") +
                  kept[n].message.substr(0, kept[n].message.find('\n')));
}

void Server::end_turn() {
    turn_pending_ = false;
    most_tasks_ = std::max(most_tasks_, core_.tasks.size());
    if (!exit_code_ && dispatch(reactor())) trial_.set(placement::trial_ms);
    tell_count();
    if (logged_retries_ != core_.retried) log_retries();
    for (auto id : std::exchange(dirty_, {})) {
        auto found = peers_.find(id);
        if (found == peers_.end()) continue;
        found->second.dirty = false;
        found->second.outbox->flush();
    }
    dead_.clear();
    bool alone = peers_.size() == unproven_.size(); // and nobody waits for strangers
    if (exit_code_ && alone && core_.seen.size() >= core_.settings.expected) loop_.stop();
}

proto::Welcome Server::welcome() {
    auto count = worker_count(core_);
    proto::Welcome welcome;
    welcome.id = core_.settings.id;
    welcome.engine = core_.settings.engine;
    welcome.address = core_.settings.address;
    welcome.expected = count.expected;
    welcome.workers = count.n;
    find_largest();
    welcome.nthreads = nthreads_;
    welcome.memory_limit = memory_limit_;
    return welcome;
}

// Any one speaks for all: only packed's task 0 may have a smaller worker. Not looked for
// at each greeting, since all workers of a large step come at once.
void Server::find_largest() {
    if (std::exchange(largest_known_, true)) return;
    nthreads_ = memory_limit_ = 0;
    for (const auto &[id, worker] : core_.workers) {
        if (worker.about.nthreads <= nthreads_) continue;
        nthreads_ = worker.about.nthreads;
        memory_limit_ = worker.about.memory_limit;
    }
}

// What a million tasks took is the client's again, who shares our memory limit: free
// memory in the middle of the heap is given to the kernel only where we ask for it.
void Server::give_memory_back() {
    constexpr std::size_t worth_it = 10'000;
    if (most_tasks_ < worth_it || core_.tasks.size() > most_tasks_ / 4) return;
    most_tasks_ = core_.tasks.size();
    ::malloc_trim(0);
}

} // namespace dtask::scheduler

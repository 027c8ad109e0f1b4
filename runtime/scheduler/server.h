// SPDX-License-Identifier: Apache-2.0
//
// Server: the scheduler's sockets. It accepts connections, turns their frames
// into the reactor's events and the reactor's effects into frames, and ends
// the step.
//
//   waiting ──the client's launcher attaches──▶ serving ──shutdown──▶ ending
//      └──none within the start-up time───────────────────────────────▲
//                            └──that launcher is lost─────────────────┘
//
// Ending: every peer is told `bye` and has a second to close. The loop stops,
// with the exit code of run(), once all are gone and every task with a worker
// has been seen: one that is slow to start is told too, instead of looking for
// a scheduler that has ended. The start-up time bounds that.
//
// A turn: all frames that have arrived are given to the reactor, then one
// dispatch, then each peer's outbox is sent (end_turn). Peers that are to be
// freed wait for the end of the turn, since they may be in the call stack.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/ev/listener.h"
#include "lib/proto/link.h"
#include "runtime/scheduler/comm.h"
#include "runtime/scheduler/outbox.h"
#include "runtime/scheduler/reactor.h"
#include "runtime/scheduler/tally.h"
#include "runtime/scheduler/timeline.h"

namespace dtask::scheduler {

class Server final : private Comm {
public:
    Server(ev::Loop &loop, const proto::Token &token, Settings settings,
           std::int64_t attach_timeout_ms);
    ~Server() override;

    /// Takes the first of `ports` that is free at `host` (empty: all
    /// addresses); the port.
    Result<std::uint16_t> listen(const std::string &host, const std::vector<std::uint16_t> &ports);
    /// Where the step's tasks are served: told to peers in their greeting, for
    /// which they wait until it is known.
    void set_address(std::string address);

    /// Serves until the step ends; 0, or why not as an exit code.
    int run();
    /// Ends the step; the first call decides the exit code.
    void end(int code, const std::string &why);
    /// Writes down in `timeline`, which outlives it, what workers do from now on.
    void keep(Timeline &timeline) { timeline_ = &timeline; }
    proto::Info info() const { return scheduler::info(core_, clock_); }
    const Core &core() const { return core_; }
    const Tally &tally() const { return tally_; }
    /// Of its life, in µs.
    std::int64_t age_us() const { return clock_.now_us() - core_.started_us; }

    /// Called once when the end begins, before anybody is told.
    void on_ending(std::function<void()> callback) { on_ending_ = std::move(callback); }
    /// Called for each `died` of a worker; without it that is no message of a worker.
    void on_died(std::function<void(const proto::Died &)> callback) {
        on_died_ = std::move(callback);
    }
    /// There is nothing left for workers to do: they are told `bye`, and so are those that come
    /// later, while the step goes on.
    void dismiss_workers(const std::string &why);

private:
    struct Peer {
        std::unique_ptr<proto::Link> link;
        std::unique_ptr<Outbox> outbox;
        std::string address;
        std::optional<proto::Role> role; ///< once proven
        std::optional<ClientId> client;
        std::optional<WorkerId> worker;
        bool attached = false; ///< the client's launcher
        bool dirty = false;    ///< its outbox is to be flushed
    };

    // Comm
    void function(WorkerId to, FunctionId f, std::string_view name, std::string_view pickled,
                  std::uint64_t cpus) override;
    void run(WorkerId to, FunctionId f, TaskId task, InstanceId instance, std::uint32_t timeout_ms,
             std::span<const Input> inputs, std::string_view args) override;
    void retract(WorkerId to, TaskId task, InstanceId instance) override;
    void kill(WorkerId to, TaskId task, InstanceId instance) override;
    void forget(WorkerId to, FunctionId f) override;
    void fetch(WorkerId to, TaskId data, std::uint64_t size, std::string_view from) override;
    void free(WorkerId to, TaskId data) override;
    void drop_worker(WorkerId worker) override;
    void result(ClientId to, std::uint64_t key, std::string_view value) override;
    void stored(ClientId to, std::uint64_t key, TaskId data, std::uint64_t size,
                std::string_view at) override;
    void failed(ClientId to, proto::Failure failure) override;
    void output(ClientId to, const proto::Output &output) override;
    void workers_changed(proto::WorkerCount count) override;

    Reactor reactor() { return {core_, *this, clock_}; }
    void listen_beside(std::uint16_t port);
    void on_accept(Fd connection, std::string address);
    void on_open(ConnectionId id, proto::Role role);
    void on_closed(ConnectionId id, bool proven, const std::string &why);
    void on_frame(ConnectionId id, proto::Frame frame);
    /// Whether the frame was a question, which any peer may ask, and is answered.
    Result<bool> on_question(Peer &peer, const proto::Frame &frame);
    Result<void> on_client_frame(Peer &peer, proto::Frame frame);
    Result<void> on_worker_frame(ConnectionId id, Peer &peer, proto::Frame frame);
    Result<void> on_control_frame(ConnectionId id, Peer &peer, const proto::Frame &frame);
    void tell_missing();
    void tell_without_group(const proto::Register &about);
    void on_unfit_peer(ConnectionId id, proto::Unfit unfit);
    void leave(ConnectionId id, const std::string &why);
    void end_turn_soon();
    void end_turn();
    void log_retries();
    void greet(Peer &peer);
    Outbox *outbox(ConnectionId id);
    Outbox *outbox(WorkerId id);
    Outbox *outbox(ClientId id);
    proto::Welcome welcome();
    void find_largest();
    void tell_count();
    void give_memory_back();

    ev::Loop &loop_;
    proto::Token token_;
    SteadyClock clock_;
    Core core_;
    Tally tally_;
    Timeline *timeline_ = nullptr; ///< null: nobody asked for it
    std::vector<std::unique_ptr<ev::Listener>> listeners_;
    std::unordered_map<ConnectionId, Peer> peers_;
    std::unordered_map<WorkerId, ConnectionId> worker_peers_;
    std::unordered_map<ClientId, ConnectionId> client_peers_;
    std::deque<ConnectionId> unproven_; ///< oldest first
    std::set<std::string> told_unfit_;  ///< wrong option values that one task was told of
    bool told_without_group_ = false;
    std::vector<ConnectionId> dirty_;
    std::optional<proto::WorkerCount> new_count_;   ///< clients and launcher are to be told
    bool largest_known_ = false;                    ///< the next two are right
    std::uint64_t nthreads_ = 0, memory_limit_ = 0; ///< of the largest worker
    std::size_t most_tasks_ = 0;                    ///< at a time, since memory was given back
    std::vector<Peer> dead_;
    bool turn_pending_ = false;
    std::uint64_t last_connection_ = 0, refused_ = 0;
    std::uint64_t logged_retries_ = 0; ///< of core_.retried
    std::optional<int> exit_code_;     ///< set once ending
    std::function<void()> on_ending_;
    std::function<void(const proto::Died &)> on_died_;
    bool dismissed_ = false;  ///< the workers
    bool stop_asked_ = false; ///< by dtask stop
    std::int64_t start_timeout_us_ = 0;
    ev::Timer attach_deadline_, end_deadline_, linger_deadline_, late_, trial_;
    ev::Ticker tick_;
};

} // namespace dtask::scheduler

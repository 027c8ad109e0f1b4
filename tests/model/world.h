// SPDX-License-Identifier: Apache-2.0
//
// World: clients, workers and time around the core, played from one seed.
//
// Peers keep to the protocol as real ones do, and read what they are sent late:
// a worker's orders and a client's news lie in an inbox until they are taken,
// so that every race between what is sent and what is reported occurs. A share
// of messages is stale, mistaken or hostile. Workers die (which is noticed at
// once or later), fall silent, come back; clients leave, and so do those that
// tasks are themselves.
//
// One step is one event and mostly a dispatch; the invariants of core.h and the
// ledger are checked after each. `drain` lets everybody be well and finish:
// then nothing may be left, neither in the core nor at a worker.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/model/ledger.h"
#include "tests/model/random.h"

namespace dtask::model {

class World final : public Ledger {
public:
    explicit World(std::uint64_t seed);

    void step();
    void drain();
    const std::deque<std::string> &story() const { return story_; }
    std::uint64_t events() const { return events_; }

private:
    struct Running {
        TaskId task;
        InstanceId instance;
        ClientId nested = {}; ///< it waits for tasks of its own; 0: it does not
    };
    struct Worker {
        std::uint64_t slurm_task = 0;
        bool alive = true, silent = false;
        std::deque<Order> inbox;
        std::deque<Running> queue;
        std::vector<Running> running;
        std::map<TaskId, std::string> fetching; ///< from where
        std::set<TaskId> store;
    };
    struct Client {
        enum class View { pending, kept, ended };
        std::map<std::uint64_t, View> tasks; ///< those that are wanted, as it sees them
        std::map<std::uint64_t, News> places;
        std::deque<News> inbox;
        std::uint64_t functions = 0, last_key = 0, last_graph = 0;
        std::vector<std::uint64_t> members; ///< keys of the open graph
        bool open = false;                  ///< the graph is not complete
        bool dying = false;                 ///< its process has ended, its connection not yet
        std::uint64_t depth = 0;
    };

    void say(std::string what);
    void check();
    void turn(); ///< dispatch
    void event();

    // world_clients.cpp
    void client_event(ClientId id, Client &client);
    ClientId connect(std::uint64_t depth);
    void send_function(ClientId id, Client &client);
    void submit(ClientId id, Client &client);
    void graph(ClientId id, Client &client);
    void complete(ClientId id, Client &client);
    void cancel(ClientId id, Client &client);
    void read(ClientId id, Client &client);
    void fetch_kept(ClientId id, Client &client);
    void release(ClientId id, Client &client);
    void mischief(ClientId id, Client &client);
    void lose(ClientId id);
    bool is_done(const Client &client) const;
    Call &new_call(ClientId id, Client &client, std::uint64_t f, const proto::Terms &terms);
    proto::Terms terms(const Client &client);

    // world_workers.cpp
    void worker_event(WorkerId id, Worker &worker);
    void begin_worker();
    void take(WorkerId id, Worker &worker);
    void start(WorkerId id, Worker &worker);
    void finish(WorkerId id, Worker &worker);
    void report_failure(WorkerId id, Worker &worker, bool missing = false);
    void copy(WorkerId id, Worker &worker);
    void nest(WorkerId id, Worker &worker);
    void stale(WorkerId id);
    void die(WorkerId id, Worker &worker);
    void lose(WorkerId id, const char *why);
    void end_call(WorkerId id, Worker &worker, std::size_t n);
    void tell_blocked(WorkerId id, const Worker &worker);
    void unfit();
    void pass_time();
    bool work(WorkerId id, Worker &worker); ///< as a healthy one does; false: nothing to do
    Worker *at(const std::string &address);
    bool reads_exist(const Worker &worker, const Running &run);

    // Ledger
    void deliver(WorkerId to, Order order) override;
    void deliver(ClientId to, News news) override;
    void dropped(WorkerId worker) override;

    Random random_;
    std::map<WorkerId, Worker> workers_;
    std::map<ClientId, Client> clients_;
    std::set<std::string> files_; ///< in all stores
    std::deque<std::string> story_;
    std::uint64_t events_ = 0, turns_ = 0, last_serial_ = 0;
    bool draining_ = false;
    std::vector<WorkerId> dropped_;
};

} // namespace dtask::model

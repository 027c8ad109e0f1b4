// SPDX-License-Identifier: Apache-2.0
//
// Swarm: simulated workers and clients, thousands in one process, over real
// sockets with the real handshake and frames. A worker has no executor: what
// comes in one frame is answered at once, in one frame, with the value None.
//
// Counts are bounded: a client submits what it is told to and waits for each
// outcome; a task that fails, or a connection that ends, ends the process with
// one line.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/swarm/process.h"
#include "lib/ev/loop.h"
#include "lib/proto/link.h"

namespace dtask::swarm {

enum class Shape {
    map,   ///< tasks without inputs
    merge, ///< the same, and one that has all of them as its inputs
    tree,  ///< pairs are joined until one is left
};

class Swarm {
public:
    explicit Swarm(const Process &scheduler);
    ~Swarm();

    /// Connects so many more, and waits until the scheduler has greeted each.
    void add_workers(std::size_t count);
    void add_clients(std::size_t count);
    /// All clients leave.
    void drop_clients();

    /// `tasks` of that shape in all, shared among the clients: what has to be sent is
    /// queued. run() waits until each wanted outcome has come.
    void submit(Shape shape, std::size_t tasks);
    void run();
    /// Waits until the scheduler has taken all that was submitted.
    void await_taken();
    /// Lets everybody do what they do for so long: signs of life each second.
    void idle(std::int64_t ms);

    /// Bytes of arguments of one task.
    static std::size_t argument_bytes();

private:
    struct Peer;
    void add(proto::Role role, std::size_t count);
    void connect_more();
    void open(Peer &peer);
    void heard(Peer &peer, proto::Frame frame);
    void work(Peer &peer, proto::Frame frame);
    void feed();
    void spin(const std::function<bool()> &done, const char *what);

    const Process &scheduler_;
    ev::Loop loop_;
    std::vector<std::unique_ptr<Peer>> peers_;
    std::size_t begun_ = 0, greeted_ = 0; ///< of peers_: connecting, ready
    std::uint64_t awaited_ = 0;           ///< outcomes
    std::size_t unanswered_ = 0;          ///< questions whether all has been taken
    std::uint64_t last_key_ = 0, last_task_ = 0;
    ev::Ticker sign_of_life_, check_;
    ev::EndOfTurn feed_; ///< a frame of each client that has some
    std::function<bool()> until_;
};

} // namespace dtask::swarm

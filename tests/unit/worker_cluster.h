// SPDX-License-Identifier: Apache-2.0
//
// Cluster: a whole worker over loopback, with executors of a few lines and a scheduler that is
// played here, in the same loop: a script of what to wait for and what to do then.
#pragma once

#include <deque>
#include <optional>

#include "lib/base/clock.h"
#include "lib/ev/listener.h"
#include "runtime/worker/worker.h"
#include "tests/unit/script.h"
#include "tests/unit/unit.h"

namespace dtask::test {

/// The scheduler's end of one connection.
struct Peer {
    std::unique_ptr<proto::Link> link;
    std::optional<proto::Role> role;
    std::deque<proto::Frame> frames;
    bool closed = false;
};

struct Cluster {
    Cluster();

    std::unique_ptr<ev::Listener> listen();
    static std::string address(const ev::Listener &l);

    static bool by_the_way(const proto::Frame &frame);
    /// ...once the next frame, but what comes by the way, is of that type.
    void on(const char *type, std::function<void(proto::Frame)> act, std::size_t peer = 0);
    void on_register();
    /// Ends the script: the worker is told good-bye.
    void bye();
    void send(proto::Frame frame) { peers.back()->link->send(std::move(frame)); }
    void send_function(std::uint64_t f = 1);
    /// Tasks first..first+count-1, instance 1.
    void send_run(std::uint64_t first, std::uint64_t count, const std::string &args = "x",
                  std::uint64_t f = 1);

    /// Plays the script; the worker's exit code.
    int play(worker::Memory memory = worker::Memory({}, 0));

    proto::Token token = proto::Token::random();
    ev::Loop loop;
    SteadyClock clock;
    proto::Welcome welcome{"7.0", "native", "127.0.0.1:1", 2, 0, 0, 0};
    bool greets = true;
    std::vector<std::unique_ptr<Peer>> peers;
    std::unique_ptr<ev::Listener> listener;
    worker::Settings settings;
    Script script{loop, 20'000};
};

inline proto::Refs ref(std::uint64_t k, std::uint64_t i = 1) { return {{k}, {i}}; }

bool no_child_is_left();

} // namespace dtask::test

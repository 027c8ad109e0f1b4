// SPDX-License-Identifier: Apache-2.0
//
// Cluster: the scheduler's server over loopback, with clients, workers and launchers that are
// played in the same loop.
#pragma once

#include <map>
#include <optional>

#include "lib/base/fd.h"
#include "lib/base/log.h"
#include "runtime/scheduler/server.h"
#include "tests/unit/scratch.h"
#include "tests/unit/script.h"
#include "tests/unit/unit.h"

namespace dtask::test {

/// One peer of the server. What comes is sorted by type.
struct Peer {
    std::unique_ptr<proto::Link> link;
    bool open = false, closed = false;
    std::map<std::string, std::vector<proto::Frame>> frames;

    std::size_t count(const char *type) const {
        auto found = frames.find(type);
        return found == frames.end() ? 0 : found->second.size();
    }
    const proto::Frame &last(const char *type) const { return frames.at(type).back(); }
    void send(proto::Frame frame) { link->send(std::move(frame)); }
    void send(const char *header, std::string payload = {}) {
        link->send({must(Json::parse(header)), std::move(payload)});
    }
};

struct Cluster {
    explicit Cluster(std::uint64_t expected = 1, std::int64_t attach_ms = 5'000) {
        must(log::open("", log::Level::warning, logged));
        scheduler::Settings settings;
        settings.id = "7.0";
        settings.engine = "native";
        settings.expected = expected;
        for (std::uint64_t task = 0; task < expected; task++) settings.tasks.insert(task);
        server.emplace(loop, token, settings, attach_ms);
        port = must(server->listen("127.0.0.1", {0}));
        server->set_address(address());
    }
    std::string address() const { return "127.0.0.1:" + std::to_string(port); }
    std::string log_text() const { return must(read_file(logged)); }

    Peer &connect(proto::Role role, const proto::Token *other = nullptr) {
        return prove(must(ev::begin_connect(address())), role, other);
    }
    /// On a connection that has been there for a while, perhaps.
    Peer &prove(Fd connection, proto::Role role, const proto::Token *other = nullptr) {
        auto &peer = *peers.emplace_back(std::make_unique<Peer>());
        peer.link = proto::Link::initiate(
            loop, std::move(connection), port, other ? *other : token, role,
            {.on_open = [&peer](proto::Role) { peer.open = true; },
             .on_frame = [&peer](proto::Frame f) { peer.frames[f.type()].push_back(std::move(f)); },
             .on_closed = [&peer](bool, const std::string &) { peer.closed = true; }});
        return peer;
    }
    Peer &launcher() {
        auto &peer = connect(proto::Role::control);
        script.when(
            "the launcher", [&peer] { return peer.open; },
            [&peer] { peer.send(proto::make_frame("attach")); });
        script.when("the count of workers", [&peer] { return peer.count("workers") > 0; });
        return peer;
    }
    Peer &worker(std::uint64_t task = 0) {
        auto &peer = connect(proto::Role::worker);
        script.when(
            "the greeting", [&peer] { return peer.count("welcome") == 1; },
            [&peer, task] {
                peer.send(proto::encode_here(task));
                proto::Register about;
                about.task = task;
                about.name = about.node = "n" + std::to_string(task);
                about.address = "127.0.0.1:1";
                about.nthreads = 4;
                about.memory_limit = 100;
                peer.send(encode(about));
            });
        return peer;
    }
    Peer &client() {
        auto &peer = connect(proto::Role::client);
        script.when("the greeting", [&peer] { return peer.count("welcome") == 1; });
        return peer;
    }
    /// The client's launcher says that all is over.
    void shutdown(Peer &from) {
        script.then([&from] { from.send(proto::encode_shutdown(0)); });
        leave_at_bye();
    }
    /// Peers close when they are told to, as real ones do.
    void leave_at_bye() {
        for (auto &peer : peers) {
            auto *p = peer.get();
            script.when(
                "good-bye", [p] { return p->closed || p->count("bye") > 0; },
                [p] { p->link.reset(); });
        }
        script.then([this] { peers.clear(); });
    }
    int play() {
        script.begin();
        int code = server->run();
        script.check_done();
        return code;
    }

    test::Scratch scratch;
    std::string logged = scratch / "log";
    proto::Token token = proto::Token::random();
    ev::Loop loop;
    std::optional<scheduler::Server> server;
    std::uint16_t port = 0;
    std::vector<std::unique_ptr<Peer>> peers;
    test::Script script{loop};
};

} // namespace dtask::test

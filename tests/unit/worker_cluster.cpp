// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/worker_cluster.h"

#include <sys/wait.h>

#include "lib/base/log.h"
#include "tests/fakes/executor.h"

namespace dtask::test {

Cluster::Cluster() {
    must(log::open("", log::Level::error, "/dev/null"));
    listener = listen();
    settings.about.name = "n1.3";
    settings.about.node = "n1";
    settings.about.task = 3;
    settings.about.nthreads = 4;
    settings.executor = fakes::good_executor();
    settings.door_host = "127.0.0.1";
    settings.dial_timeout_ms = 2'000;
    settings.candidates = {address(*listener)};
}

std::unique_ptr<ev::Listener> Cluster::listen() {
    return must(ev::Listener::bind(loop, "127.0.0.1", 0, [this](Fd fd, std::string) {
        auto *peer = peers.emplace_back(std::make_unique<Peer>()).get();
        peer->link = proto::Link::accept(
            loop, std::move(fd), token,
            {.on_open =
                 [this, peer](proto::Role role) {
                     peer->role = role;
                     if (greets) peer->link->send(encode(welcome));
                 },
             .on_frame = [peer](proto::Frame frame) { peer->frames.push_back(std::move(frame)); },
             .on_closed = [peer](bool, const std::string &) { peer->closed = true; }});
    }));
}

std::string Cluster::address(const ev::Listener &l) {
    return "127.0.0.1:" + std::to_string(l.port());
}

bool Cluster::by_the_way(const proto::Frame &frame) {
    return frame.type() == "stat" || frame.type() == "here";
}

void Cluster::on(const char *type, std::function<void(proto::Frame)> act, std::size_t peer) {
    auto due = [this, peer] {
        if (peers.size() <= peer) return false;
        auto &frames = peers[peer]->frames;
        while (!frames.empty() && by_the_way(frames.front())) frames.pop_front();
        return !frames.empty();
    };
    script.when(type, due, [this, type, peer, act] {
        proto::Frame frame = std::move(peers[peer]->frames.front());
        peers[peer]->frames.pop_front();
        ck_text_eq(frame.type(), type);
        act(std::move(frame));
    });
}

void Cluster::on_register() {
    on("register", [](proto::Frame) {});
}

void Cluster::bye() {
    script.then([this] { send(proto::encode_bye("over")); });
}

void Cluster::send_function(std::uint64_t f) {
    send(encode(proto::Function{f, "f", "F" + std::to_string(f)}));
}

void Cluster::send_run(std::uint64_t first, std::uint64_t count, const std::string &args,
                       std::uint64_t f) {
    proto::Run run;
    for (auto k = first; k < first + count; k++) {
        run.f.push_back(f);
        run.k.push_back(k);
        run.i.push_back(1);
        run.len.push_back(args.size());
        run.payload += args;
    }
    send(encode(std::move(run)));
}

int Cluster::play(worker::Memory memory) {
    script.begin();
    worker::Worker worker(loop, token, settings, std::move(memory));
    int code = must(worker.run());
    script.check_done();
    return code;
}

bool no_child_is_left() { return ::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD; }

} // namespace dtask::test

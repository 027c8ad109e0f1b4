// SPDX-License-Identifier: Apache-2.0
#include "bench/swarm/swarm.h"

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <string_view>
#include <utility>

#include "lib/base/clock.h"
#include "lib/base/net.h"
#include "lib/proto/codec.h"

namespace dtask::swarm {

namespace {

using namespace std::string_view_literals;

constexpr std::size_t connecting_at_once =
    256; // a scheduler keeps 512 that have not proved themselves
constexpr std::size_t tasks_of_a_frame = 512; // as Python's client sends them
constexpr std::int64_t patience_us = 600'000'000;
// Pickles as Python makes them: ((7,), {}), and None.
constexpr std::string_view arguments =
    "\x80\x05\x95\x0a\x00\x00\x00\x00\x00\x00\x00K\x07\x85\x94}\x94\x86\x94."sv;
constexpr std::string_view none = "\x80\x05N."sv;

[[noreturn]] void give_up(const std::string &why) {
    std::cerr << "scale: " << why << '\n';
    std::exit(1);
}

} // namespace

struct Swarm::Peer {
    proto::Role role;
    std::unique_ptr<proto::Link> link;
    bool greeted = false, leaving = false;
    unsigned idle_s = 0;                  ///< seconds without a task, as far as they were counted
    std::deque<proto::Frame> unsent = {}; ///< of a client
};

Swarm::Swarm(const Process &scheduler)
    : scheduler_(scheduler),
      sign_of_life_(loop_, 1'000,
                    [this] {
                        for (auto &peer : peers_) {
                            if (peer->role != proto::Role::worker) continue;
                            if (!peer->greeted) continue;
                            // As a worker does (worker::Sign).
                            if (peer->idle_s++ > 1 && peer->idle_s % 5 != 0) continue;
                            auto stat = proto::make_frame("stat");
                            stat.header.set("memory", std::uint64_t{1} << 20);
                            peer->link->send(std::move(stat));
                        }
                    }),
      check_(loop_, 5,
             [this] {
                 if (until_ && until_()) loop_.stop();
             }),
      feed_(loop_, [this] { feed(); }) {
    add(proto::Role::control, 1);
}

Swarm::~Swarm() { scheduler_.kill(); }

std::size_t Swarm::argument_bytes() { return arguments.size(); }

void Swarm::add_workers(std::size_t count) { add(proto::Role::worker, count); }
void Swarm::add_clients(std::size_t count) { add(proto::Role::client, count); }

void Swarm::add(proto::Role role, std::size_t count) {
    for (std::size_t n = 0; n < count; n++) {
        peers_.push_back(std::make_unique<Peer>());
        peers_.back()->role = role;
    }
    connect_more();
    spin([this] { return greeted_ == peers_.size(); }, "a connection");
}

void Swarm::connect_more() {
    while (begun_ < peers_.size() && begun_ - greeted_ < connecting_at_once) {
        Peer &peer = *peers_[begun_++];
        auto fd = ev::begin_connect(scheduler_.address());
        if (!fd) give_up(fd.error().text());
        peer.link = proto::Link::initiate(
            loop_, std::move(*fd), port_of(scheduler_.address()), scheduler_.token(), peer.role,
            {.on_open = [this, &peer](proto::Role) { open(peer); },
             .on_frame = [this, &peer](proto::Frame frame) { heard(peer, std::move(frame)); },
             .on_closed =
                 [&peer](bool, const std::string &why) {
                     if (!peer.leaving) give_up("a connection has ended: " + why);
                 }});
    }
}

void Swarm::open(Peer &peer) {
    if (peer.role == proto::Role::control) peer.link->send(proto::make_frame("attach"));
    if (peer.role == proto::Role::worker) {
        proto::Register about;
        about.task = last_task_++;
        about.name = "w" + std::to_string(about.task);
        about.node = "n" + std::to_string(about.task / 8);
        about.address = "127.0.0.1:1";
        about.nthreads = 1;
        peer.link->send(proto::encode_here(about.task));
        peer.link->send(proto::encode(about));
    }
    if (peer.role == proto::Role::client)
        peer.link->send(proto::encode(proto::Function{1, "f", "pickled"}));
}

void Swarm::heard(Peer &peer, proto::Frame frame) {
    auto type = frame.type();
    if (type == "run") {
        peer.idle_s = 0;
        return work(peer, std::move(frame));
    }
    if (type == "done") {
        auto keys = frame.header.column("k");
        if (!keys) give_up(keys.error().text());
        awaited_ -= keys->size();
        if (awaited_ == 0) loop_.post([this] { loop_.stop(); });
    } else if (type == "welcome" && !std::exchange(peer.greeted, true)) {
        greeted_++;
        connect_more();
    } else if (type == "info") {
        unanswered_--;
    } else if (type == "retract") { // all that it was sent has been answered
        peer.link->send(proto::encode_refs("retracted", {}));
    } else if (type == "failed" || type == "bye") {
        give_up("the scheduler says " + frame.header.compact());
    }
}

void Swarm::work(Peer &peer, proto::Frame frame) {
    auto run = proto::decode_run(std::move(frame));
    if (!run) give_up(run.error().text());
    proto::Done done;
    auto count = run->k.size();
    done.k = std::move(run->k);
    done.i = std::move(run->i);
    done.us.assign(count, 1);
    done.raised.assign(count, 0);
    done.len.assign(count, none.size());
    for (std::size_t n = 0; n < count; n++) done.payload += none;
    peer.link->send(proto::encode(std::move(done)));
}

void Swarm::drop_clients() {
    for (auto it = peers_.begin(); it != peers_.end();) {
        if ((*it)->role != proto::Role::client) {
            ++it;
            continue;
        }
        (*it)->leaving = true;
        (*it)->link->close();
        it = peers_.erase(it);
        begun_--;
        greeted_--;
    }
}

void Swarm::submit(Shape shape, std::size_t tasks) {
    std::vector<Peer *> clients;
    for (auto &peer : peers_)
        if (peer->role == proto::Role::client) clients.push_back(peer.get());
    for (std::size_t c = 0; c < clients.size(); c++) {
        std::size_t mine = tasks / clients.size() + (c < tasks % clients.size() ? 1 : 0);
        auto &frames = clients[c]->unsent;
        if (shape == Shape::map) {
            awaited_ += mine;
            for (std::size_t left = mine; left > 0;) {
                auto count = std::min(left, tasks_of_a_frame);
                auto frame = proto::make_frame("submit");
                proto::Column keys, lengths(count, arguments.size());
                for (std::size_t n = 0; n < count; n++) {
                    keys.push_back(++last_key_);
                    frame.payload += arguments;
                }
                frame.header.set("f", 1).set("k", keys).set("len", lengths);
                frames.push_back(std::move(frame));
                left -= count;
            }
            continue;
        }
        // A queue of values to be joined: two of them to one, or all.
        proto::Graph graph;
        std::uint64_t number = ++last_key_;
        std::size_t leaves = shape == Shape::merge ? mine - 1 : (mine + 1) / 2;
        std::size_t left = shape == Shape::merge ? mine : 2 * leaves - 1;
        auto flush = [&] {
            auto frame = proto::make_frame("graph");
            frame.header.set("g", number)
                .set("complete", left == 0 ? 1 : 0)
                .set("f", proto::Column(graph.k.size(), 1))
                .set("k", graph.k)
                .set("want", graph.wanted)
                .set("inputs", graph.inputs)
                .set("in", graph.in)
                .set("len", proto::Column(graph.k.size(), arguments.size()));
            for (std::size_t n = 0; n < graph.k.size(); n++) frame.payload += arguments;
            frames.push_back(std::move(frame));
            graph = {};
        };
        auto add = [&](const proto::Column &inputs, bool wanted) {
            graph.k.push_back(++last_key_);
            graph.inputs.push_back(inputs.size());
            graph.in.insert(graph.in.end(), inputs.begin(), inputs.end());
            graph.wanted.push_back(wanted);
            left--;
            if (left == 0 || graph.k.size() == tasks_of_a_frame) flush();
            return last_key_;
        };
        proto::Column level;
        if (shape == Shape::merge) {
            while (level.size() < leaves) level.push_back(add({}, false));
            add(level, true);
        } else { // depth first, as a client orders it: a pair is joined when it is there
            std::vector<std::pair<std::uint64_t, std::size_t>> open; // (key, leaves below)
            for (std::size_t leaf = 0; leaf < leaves; leaf++) {
                open.emplace_back(add({}, leaves == 1), 1);
                while (open.size() > 1 &&
                       (open.end()[-1].second == open.end()[-2].second || leaf + 1 == leaves)) {
                    auto right = open.back();
                    open.pop_back();
                    auto &joined = open.back();
                    joined = {
                        add({joined.first, right.first}, open.size() == 1 && leaf + 1 == leaves),
                        joined.second + right.second};
                }
            }
        }
        awaited_++;
    }
    feed_.set();
}

// Clients and workers are processes of their own where they are real: none waits with its
// answers until another has sent all that it has.
void Swarm::feed() {
    for (auto &peer : peers_) {
        if (peer->unsent.empty()) continue;
        peer->link->send(std::move(peer->unsent.front()));
        peer->unsent.pop_front();
        if (!peer->unsent.empty()) feed_.set();
    }
}

void Swarm::run() {
    spin([this] { return awaited_ == 0; }, "outcomes");
}

// The answer comes when what was sent before the question has been read.
void Swarm::await_taken() {
    for (auto &peer : peers_) {
        if (peer->role != proto::Role::client) continue;
        peer->unsent.push_back(proto::make_frame("info"));
        unanswered_++;
    }
    feed_.set();
    spin([this] { return unanswered_ == 0; }, "the scheduler to take all tasks");
}

void Swarm::idle(std::int64_t ms) {
    bool over = false;
    ev::Timer end(loop_, [this, &over] {
        over = true;
        loop_.stop();
    });
    end.set(ms);
    spin([&over] { return over; }, "time");
}

void Swarm::spin(const std::function<bool()> &done, const char *what) {
    SteadyClock clock;
    auto began = clock.now_us();
    until_ = [&] {
        if (clock.now_us() - began > patience_us)
            give_up(std::string("waited for ") + what + " for " +
                    std::to_string(patience_us / 1'000'000) + " s");
        return done();
    };
    while (!done()) loop_.run();
    until_ = {};
}

} // namespace dtask::swarm

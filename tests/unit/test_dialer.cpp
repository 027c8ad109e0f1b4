// SPDX-License-Identifier: Apache-2.0
//
// The dialer finds the right one among ports that refuse, are silent, or
// belong to somebody else.
#include "tests/unit/unit.h"

#include <optional>

#include <unistd.h>

#include "lib/base/net.h"
#include "lib/ev/listener.h"
#include "lib/proto/codec.h"
#include "runtime/client/dialer.h"
#include "tests/unit/wait.h"

using namespace dtask;
using namespace dtask::proto;
using dtask::client::Dialer;
using dtask::test::must;
using dtask::test::settle;
using dtask::test::wait_for;

namespace {

const Token secret = Token::random();

/// Listens, and answers with a proof, or not at all.
struct Port {
    Port(ev::Loop &loop, std::optional<Token> token) {
        listener = must(ev::Listener::bind(loop, "127.0.0.1", 0, [this, &loop, token](Fd fd, auto) {
            visits++;
            if (!token) return silent.push_back(std::move(fd));
            links.push_back(Link::accept(loop, std::move(fd), *token,
                                         {.on_open = [this](Role r) { role = r; },
                                          .on_frame = [this](Frame f) { frames.push_back(f); },
                                          .on_closed = [](bool, const std::string &) {}}));
        }));
    }
    std::string address() const { return "127.0.0.1:" + std::to_string(listener->port()); }

    int visits = 0;
    std::optional<Role> role;
    std::vector<Frame> frames;
    std::vector<Fd> silent;
    std::vector<std::unique_ptr<Link>> links;
    std::unique_ptr<ev::Listener> listener;
};

std::string refusing(ev::Loop &loop) { return Port(loop, secret).address(); }

struct Seen {
    int connected = 0;
    std::vector<Frame> frames;
    std::optional<std::string> lost, failed;
    Dialer::Callbacks callbacks() {
        return {.on_connected = [this] { connected++; },
                .on_frame = [this](Frame frame) { frames.push_back(std::move(frame)); },
                .on_lost = [this](const std::string &why) { lost = why; },
                .on_failed = [this](const std::string &why) { failed = why; }};
    }
};

START_TEST(test_finds_the_first) {
    ev::Loop loop;
    Port right(loop, secret), other(loop, secret);
    Seen seen;
    Dialer dialer(loop, secret, Role::observer, {right.address(), other.address()}, 2'000,
                  seen.callbacks());
    ck_assert(!dialer.connected());
    dialer.send(make_frame("too early"));
    wait_for(loop, "the connection", [&] { return seen.connected == 1 && right.role; });
    ck_assert(*right.role == Role::observer);
    ck_assert(dialer.connected());
    ck_text_eq(dialer.address(), right.address().c_str());
    ck_text_eq(dialer.local_host(), "127.0.0.1");
    dialer.send(make_frame("info"));
    right.links[0]->send(encode_bye("x"));
    wait_for(loop, "both frames",
             [&] { return right.frames.size() == 1 && seen.frames.size() == 1; });
    ck_text_eq(right.frames[0].type(), "info");
    ck_assert_int_eq(other.visits, 0);
    right.links.clear();
    wait_for(loop, "the loss", [&] { return seen.lost.has_value(); });
    ck_text_eq(*seen.lost, "closed by the scheduler");
    ck_assert(!dialer.connected());
    dialer.send(make_frame("too late"));
}
END_TEST

// One that refuses, one of another step, one that says nothing for a second.
START_TEST(test_passes_over_the_others) {
    ev::Loop loop;
    Port foreign(loop, Token::random()), silent(loop, std::nullopt), right(loop, secret);
    Seen seen;
    Dialer dialer(loop, secret, Role::worker,
                  {refusing(loop), foreign.address(), silent.address(), right.address()}, 5'000,
                  seen.callbacks());
    wait_for(
        loop, "the connection", [&] { return seen.connected == 1; }, 5'000);
    ck_text_eq(dialer.address(), right.address().c_str());
    ck_assert_int_ge(foreign.visits, 1);
    ck_assert(!foreign.role);
    ck_assert(!seen.failed && !seen.lost);
}
END_TEST

// One that has nothing to say is no silent one: its machine answers.
START_TEST(test_watches_an_idle_connection) {
    ev::Loop loop;
    Port right(loop, secret);
    Seen seen;
    Dialer dialer(loop, secret, Role::control, {right.address()}, 2'000, seen.callbacks());
    wait_for(loop, "the connection", [&] { return seen.connected == 1 && right.role; });
    dialer.watch(3'000);
    settle(loop, 4'500);
    ck_assert(!seen.lost);
    right.links.clear();
    wait_for(loop, "the loss", [&] { return seen.lost.has_value(); });
}
END_TEST

// A scheduler that is slow to start is found once it listens.
START_TEST(test_waits_for_a_late_one) {
    ev::Loop loop;
    std::optional<Port> late(std::in_place, loop, secret);
    auto address = late->address();
    auto port = late->listener->port();
    late.reset();
    Seen seen;
    Dialer dialer(loop, secret, Role::worker, {address}, 5'000, seen.callbacks());
    std::vector<std::unique_ptr<Link>> links;
    std::unique_ptr<ev::Listener> listener;
    ev::Timer start(loop, [&] {
        listener = must(ev::Listener::bind(loop, "127.0.0.1", port, [&](Fd fd, auto) {
            links.push_back(Link::accept(loop, std::move(fd), secret,
                                         {.on_open = [](Role) {},
                                          .on_frame = [](Frame) {},
                                          .on_closed = [](bool, const std::string &) {}}));
        }));
    });
    start.set(150);
    wait_for(loop, "the connection", [&] { return seen.connected == 1; });
}
END_TEST

START_TEST(test_gives_up_in_time) {
    ev::Loop loop;
    for (bool silent : {false, true}) {
        Port quiet(loop, std::nullopt);
        Seen seen;
        Dialer dialer(loop, secret, Role::worker, {silent ? quiet.address() : refusing(loop)}, 100,
                      seen.callbacks());
        wait_for(loop, "the end of its time", [&] { return seen.failed.has_value(); });
        ck_assert_int_eq(seen.connected, 0);
        if (silent)
            ck_text_eq(*seen.failed, "no answer");
        else
            ck_contains(*seen.failed, "Connection refused");
    }
}
END_TEST

START_TEST(test_addresses) {
    ck_assert((client::addresses("10.0.0.1", {1, 65535}) ==
               std::vector<std::string>{"10.0.0.1:1", "10.0.0.1:65535"}));
    ck_assert((client::addresses("fd00::1", {7}) == std::vector<std::string>{"[fd00::1]:7"}));
    ck_assert_uint_eq(port_of("[fd00::1]:7"), 7);
    ck_assert_uint_eq(port_of("10.0.0.1"), 0);
    ck_assert_uint_eq(port_of("10.0.0.1:70000"), 0);
}
END_TEST

// Who is on the scheduler's machine comes by the socket beside its port.
START_TEST(test_beside_the_port) {
    ev::Loop loop;
    Port right(loop, secret);
    std::optional<Role> role;
    std::vector<std::unique_ptr<Link>> links;
    auto beside = must(ev::Listener::bind_local(loop, right.listener->port(), [&](Fd fd, auto who) {
        ck_text_eq(who, "this machine");
        links.push_back(Link::accept(loop, std::move(fd), secret,
                                     {.on_open = [&](Role r) { role = r; },
                                      .on_frame = [](const Frame &) {},
                                      .on_closed = [](bool, const std::string &) {}}));
    }));
    ck_assert_uint_eq(beside->port(), right.listener->port());
    ck_assert(!ev::Listener::bind_local(loop, beside->port(), [](Fd, auto) {}));
    Seen seen;
    Dialer dialer(loop, secret, Role::worker, {right.address()}, 2'000, seen.callbacks());
    wait_for(loop, "the connection", [&] { return seen.connected == 1 && role; });
    ck_assert(*role == Role::worker);
    ck_assert_int_eq(right.visits, 0);
    ck_text_eq(dialer.address(), right.address().c_str());
    ck_text_eq(dialer.local_host(), "127.0.0.1"); // where others find who is here
}
END_TEST

// Another user who listens there is not even spoken to.
START_TEST(test_another_user_beside_the_port) {
    if (::geteuid() != 0) return; // only root can become another one
    ev::Loop loop;
    Port right(loop, secret);
    int visits = 0;
    std::unique_ptr<ev::Listener> beside;
    ck_assert_int_eq(::seteuid(65534), 0);
    beside = must(ev::Listener::bind_local(loop, right.listener->port(),
                                           [&](Fd, const std::string &) { visits++; }));
    ck_assert_int_eq(::seteuid(0), 0);
    Seen seen;
    Dialer dialer(loop, secret, Role::worker, {right.address()}, 2'000, seen.callbacks());
    wait_for(loop, "the connection", [&] { return seen.connected == 1; });
    ck_assert_int_eq(right.visits, 1);
}
END_TEST

// What stands beside the port may be another step's: the port itself is tried then.
START_TEST(test_another_step_beside_the_port) {
    ev::Loop loop;
    Port right(loop, secret);
    std::vector<std::unique_ptr<Link>> links;
    auto beside = must(ev::Listener::bind_local(loop, right.listener->port(), [&](Fd fd, auto) {
        links.push_back(Link::accept(loop, std::move(fd), Token::random(),
                                     {.on_open = [](Role) {},
                                      .on_frame = [](const Frame &) {},
                                      .on_closed = [](bool, const std::string &) {}}));
    }));
    Seen seen;
    Dialer dialer(loop, secret, Role::worker, {right.address()}, 2'000, seen.callbacks());
    wait_for(loop, "the connection", [&] { return seen.connected == 1; });
    ck_assert_uint_eq(links.size(), 1);
    ck_assert_int_eq(right.visits, 1);
}
END_TEST

// Somebody who only passes on what is said between a peer and the scheduler
// is found out: the proof names the port that was dialled.
START_TEST(test_relay) {
    ev::Loop loop;
    Port right(loop, secret);
    struct Leg {
        std::unique_ptr<ev::Stream> near, far;
    };
    std::vector<std::unique_ptr<Leg>> legs;
    auto relay = must(ev::Listener::bind(loop, "127.0.0.1", 0, [&](Fd fd, auto) {
        auto &leg = *legs.emplace_back(std::make_unique<Leg>());
        leg.near = std::make_unique<ev::Stream>(
            loop, std::move(fd),
            ev::Stream::Callbacks{
                .on_data = [&leg] { leg.far->write(leg.near->take(leg.near->available())); },
                .on_closed = [](const std::string &) {}});
        leg.far = std::make_unique<ev::Stream>(
            loop, must(ev::begin_connect(right.address())),
            ev::Stream::Callbacks{
                .on_data = [&leg] { leg.near->write(leg.far->take(leg.far->available())); },
                .on_closed = [](const std::string &) {}});
    }));
    Seen seen;
    Dialer dialer(loop, secret, Role::client, {"127.0.0.1:" + std::to_string(relay->port())}, 300,
                  seen.callbacks());
    wait_for(loop, "the dialer to give up", [&] { return seen.failed.has_value(); });
    ck_assert_int_ge(right.visits, 1); // it was reached
    ck_assert(!right.role);
    ck_assert_int_eq(seen.connected, 0);
}
END_TEST

Suite *suite() {
    auto s = suite_create("dialer");
    auto c = tcase_create("dialer");
    tcase_set_timeout(c, 30);
    for (auto test :
         {test_finds_the_first, test_passes_over_the_others, test_watches_an_idle_connection,
          test_waits_for_a_late_one, test_gives_up_in_time, test_addresses, test_beside_the_port,
          test_another_step_beside_the_port, test_another_user_beside_the_port, test_relay})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

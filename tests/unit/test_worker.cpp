// SPDX-License-Identifier: Apache-2.0
//
// A whole worker over loopback and its scheduler: how it comes, what it says and hears, what it
// watches, how it ends.
#include "tests/unit/unit.h"

#include <csignal>
#include <optional>

#include <sys/wait.h>

#include "lib/base/exit_codes.h"
#include "lib/base/log.h"
#include "lib/base/net.h"
#include "tests/fakes/executor.h"
#include "tests/unit/worker_cluster.h"

using namespace dtask;
using namespace dtask::proto;
using dtask::test::Cluster;
using dtask::test::mib;
using dtask::test::must;
using dtask::test::no_child_is_left;
using dtask::worker::Memory;

namespace {

START_TEST(test_registers_runs_and_ends) {
    Cluster c;
    c.on("register", [&](Frame frame) {
        ck_assert(*c.peers[0]->role == Role::worker);
        auto about = must(decode_register(frame.header));
        ck_text_eq(about.name, "n1.3");
        ck_assert_uint_eq(about.task, 3);
        ck_assert_uint_eq(about.nthreads, 4);
        ck_assert(about.address.starts_with("127.0.0.1:"));
        c.send_function();
        c.send_run(10, 2, "abc");
    });
    auto seen = std::make_shared<std::uint64_t>(0);
    c.script.when(
        "two results",
        [&c, seen] {
            for (; !c.peers[0]->frames.empty(); c.peers[0]->frames.pop_front()) {
                auto &frame = c.peers[0]->frames.front();
                if (Cluster::by_the_way(frame)) continue;
                ck_text_eq(frame.type(), "done");
                auto done = must(decode_done(std::move(frame)));
                for (std::size_t n = 0; n < done.k.size(); n++) {
                    ck_assert_uint_eq(done.k[n], 10 + *seen);
                    ck_assert_uint_eq(done.i[n], 1);
                    ck_assert_uint_eq(done.us[n], 7);
                    ck_assert_uint_eq(done.raised[n], 0);
                    ck_assert_uint_eq(done.len[n], 6);
                    ++*seen;
                }
                ck_assert(done.payload.starts_with("F1:abc"));
            }
            return *seen == 2;
        },
        [] {});
    c.bye();
    ck_assert_int_eq(c.play(), 0);
    while (::waitpid(-1, nullptr, 0) > 0) { // killed, reaped at the latest by its parent
    }
    ck_assert(no_child_is_left());
}
END_TEST

START_TEST(test_frames_that_are_wrong) {
    for (auto header :
         {R"({"t":"run","f":[1]})", R"({"t":"retract","k":[1],"i":[]})",
          R"({"t":"forget","f":"all"})", R"({"t":"welcome"})", R"({"t":"function"})"}) {
        Cluster c;
        c.on("register", [&](Frame) { c.send({must(Json::parse(header)), {}}); });
        ck_assert_int_eq(c.play(), exit_code::cluster_lost);
    }
    Cluster c; // but what it does not know it ignores
    c.on("register", [&](Frame) { c.send(make_frame("holiday")); });
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

START_TEST(test_executors_that_do_not_start) {
    Cluster c;
    c.settings.executor = fakes::executor("sys.exit(3)");
    c.script.when(
        "its report",
        [&] {
            return !c.peers.empty() && !c.peers[0]->frames.empty() &&
                   c.peers[0]->frames.back().type() == "unfit";
        },
        [&] {
            auto unfit = must(decode_unfit(c.peers[0]->frames.back()));
            ck_assert_uint_eq(unfit.task, 3);
            ck_text_eq(unfit.node, "n1");
            ck_contains(unfit.message, "its executors do not start");
            ck_contains(unfit.message, "exit code 3");
            c.peers[0]->link.reset(); // the scheduler closes it
        });
    ck_assert_int_eq(c.play(), exit_code::unfit);
}
END_TEST

START_TEST(test_no_interpreter) {
    Cluster c;
    c.settings.executor.program = "/no/such/python";
    c.on("unfit", [&](Frame frame) {
        ck_contains(must(decode_unfit(frame)).message, "/no/such/python: No such file");
        c.peers[0]->link.reset();
    });
    ck_assert_int_eq(c.play(), exit_code::unfit);
}
END_TEST

START_TEST(test_scheduler_lost) {
    Cluster c;
    c.on_register();
    c.script.when(
        "loss", [] { return true; }, [&] { c.peers[0]->link.reset(); });
    ck_assert_int_eq(c.play(), exit_code::cluster_lost);
}
END_TEST

START_TEST(test_scheduler_not_found) {
    Cluster c;
    c.settings.dial_timeout_ms = 50;
    c.listener.reset();
    ck_assert_int_eq(c.play(), exit_code::no_scheduler);
}
END_TEST

START_TEST(test_sigterm_ends_it) {
    Cluster c;
    c.on("register", [](Frame) { ::raise(SIGTERM); });
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// Ctrl-C is the client's once there is a cluster, and ends a worker before.
START_TEST(test_sigint) {
    Cluster c;
    c.on("register", [&](Frame) {
        ::raise(SIGINT);
        c.send_function();
        c.send_run(1, 1);
    });
    c.on("done", [](Frame) {});
    c.bye();
    ck_assert_int_eq(c.play(), 0);
    Cluster d;
    d.listener.reset();
    d.script.when(
        "a moment", [] { return true; }, [] { ::raise(SIGINT); });
    ck_assert_int_eq(d.play(), 0);
}
END_TEST

// Until it has registered it says nothing else, however long the greeting takes.
START_TEST(test_slow_greeting) {
    Cluster c;
    c.greets = false;
    auto since = std::make_shared<std::int64_t>(0);
    c.script.when(
        "the connection", [&c] { return !c.peers.empty() && c.peers[0]->role; },
        [&c, since] { *since = c.clock.now_us(); });
    c.script.when(
        "more than a stat's second", [&c, since] { return c.clock.now_us() - *since > 1'300'000; },
        [&c] {
            ck_assert_uint_eq(c.peers[0]->frames.size(), 1);
            ck_text_eq(c.peers[0]->frames[0].type(), "here");
            ck_assert_uint_eq(must(c.peers[0]->frames[0].header.natural("task")), 3);
            c.send(encode(c.welcome));
        });
    c.on_register();
    c.script.when(
        "a sign of life",
        [&c] { return !c.peers[0]->frames.empty() && c.peers[0]->frames.back().type() == "stat"; },
        [&c] { ck_assert_uint_gt(must(c.peers[0]->frames.back().header.natural("memory")), mib); });
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// One that works, or has just stopped to, tells each time; one that idles now and then.
START_TEST(test_when_it_has_news) {
    constexpr std::int64_t second = 1'000'000;
    worker::Sign sign(60'000);
    proto::Stat idle{.memory = 30 * mib, .peak = 40 * mib, .cpu_us = 5'000'000};
    auto working = idle;
    working.k = working.i = working.us = {1};
    std::int64_t now = 0;
    auto news = [&](const proto::Stat &stat) { return sign.is_news(stat, now += second); };
    ck_assert(news(idle));
    ck_assert(news(idle)); // nothing is used any more
    for (int n = 0; n < 4; n++) ck_assert(!news(idle));
    ck_assert(news(idle)); // it lives
    ck_assert(!news(idle));
    for (int n = 0; n < 3; n++) ck_assert(news(working));
    ck_assert(news(idle));
    ck_assert(news(idle));
    ck_assert(!news(idle));
    // What has run and ended between two.
    idle.cpu_us += 20'000;
    ck_assert(news(idle));
    ck_assert(news(idle));
    ck_assert(!news(idle));
    idle.memory += 2 * mib;
    ck_assert(news(idle));
    // Where the scheduler is impatient.
    worker::Sign often(2 * 4'000);
    for (int n = 0; n < 9; n++) ck_assert(often.is_news(idle, now += second));
}
END_TEST

// With an interface chosen it comes again, by the address of the greeting.
START_TEST(test_follows_the_address) {
    Cluster c;
    auto other = c.listen();
    c.welcome.address = Cluster::address(*other);
    c.settings.follow_address = true;
    c.on(
        "register", [](Frame) {}, 1);
    c.script.when(
        "the first connection to be closed", [&c] { return c.peers[0]->closed; },
        [&c] {
            for (auto &frame : c.peers[0]->frames) ck_text_eq(frame.type(), "here");
        });
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// The door: who holds the token may ask who lives here.
START_TEST(test_door) {
    Cluster c;
    c.settings.door_host = "127.0.0.2"; // another interface than the one to the scheduler
    std::unique_ptr<Link> friendly, stranger;
    std::optional<Frame> pong;
    bool refused = false;
    c.on("register", [&](Frame frame) {
        auto where = must(decode_register(frame.header)).address;
        ck_assert(where.starts_with("127.0.0.2:"));
        friendly = Link::initiate(c.loop, must(ev::begin_connect(where)), port_of(where), c.token,
                                  Role::observer,
                                  {.on_open = [&](Role) { friendly->send(make_frame("ping")); },
                                   .on_frame = [&](Frame f) { pong = std::move(f); },
                                   .on_closed = [](bool, const std::string &) {}});
        stranger = Link::initiate(
            c.loop, must(ev::begin_connect(where)), port_of(where), Token::random(), Role::observer,
            {.on_open = [](Role) { ck_abort_msg("a stranger came in"); },
             .on_frame = [](Frame) {},
             .on_closed = [&](bool, const std::string &) { refused = true; }});
    });
    c.script.when(
        "pong", [&] { return pong && refused; },
        [&] {
            ck_text_eq(pong->type(), "pong");
            ck_text_eq(must(decode_register(pong->header)).name, "n1.3");
            friendly->send(make_frame("shutdown")); // anything else: closed
        });
    c.script.when(
        "the door to be shut", [&] { return !friendly->open(); }, [] {});
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// Without a cgroup the worker itself looks: the hog dies, the next task runs.
START_TEST(test_memory_watch) {
    Cluster c;
    c.settings.executor = fakes::executor(R"(
ready()
for function, task, body in calls():
    if body == b"hog":
        hog = b"x" * (300 << 20)
        time.sleep(60)
    send(5, task, b"v")
)");
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 1, "hog");
        c.send_run(2, 1);
    });
    c.on("failed", [](Frame frame) {
        auto failure = must(decode_failure(std::move(frame)));
        ck_assert_uint_eq(failure.k, 1);
        ck_assert(failure.kind == FailureKind::memory);
        ck_assert_uint_eq(failure.signal, SIGKILL);
        ck_assert_uint_eq(failure.limit, 100 * mib);
        ck_assert_uint_gt(failure.peak, 100 * mib);
        ck_contains(failure.message, "passed the worker's memory limit of 100M (peak ");
    });
    c.on("done",
         [](Frame frame) { ck_assert((must(decode_done(std::move(frame))).k == Column{2})); });
    c.bye();
    ck_assert_int_eq(c.play(Memory({}, 100 * mib)), 0);
}
END_TEST

// Killed by somebody else is no matter of memory.
START_TEST(test_killed_below_the_limit) {
    Cluster c;
    c.settings.executor = fakes::executor(R"(
ready()
for function, task, body in calls():
    os.kill(os.getpid(), signal.SIGKILL)
)");
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 1);
    });
    c.on("failed", [](Frame frame) {
        auto failure = must(decode_failure(std::move(frame)));
        ck_assert(failure.kind == FailureKind::crashed);
        ck_assert_uint_eq(failure.signal, SIGKILL);
    });
    c.bye();
    ck_assert_int_eq(c.play(Memory({}, 1000 * mib)), 0);
}
END_TEST

Suite *suite() {
    auto s = suite_create("worker");
    auto c = tcase_create("worker");
    tcase_set_timeout(c, 60);
    for (auto test : {test_registers_runs_and_ends, test_frames_that_are_wrong,
                      test_executors_that_do_not_start, test_no_interpreter, test_scheduler_lost,
                      test_scheduler_not_found, test_sigterm_ends_it, test_sigint,
                      test_slow_greeting, test_when_it_has_news, test_follows_the_address,
                      test_door, test_memory_watch, test_killed_below_the_limit})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

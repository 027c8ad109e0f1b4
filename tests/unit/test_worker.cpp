// SPDX-License-Identifier: Apache-2.0
//
// A whole worker over loopback, with executors of a few lines and a scheduler
// that is played here, in the same loop: a script of what to wait for and what
// to do then.
#include "tests/unit/unit.h"

#include <csignal>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>

#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/exit_codes.h"
#include "lib/base/log.h"
#include "lib/base/net.h"
#include "lib/ev/listener.h"
#include "runtime/worker/worker.h"
#include "tests/fakes/executor.h"
#include "tests/unit/scratch.h"
#include "tests/unit/script.h"

using namespace dtask;
using namespace dtask::proto;
using dtask::test::must;
using dtask::worker::Memory;
using dtask::worker::Worker;

namespace {

constexpr std::uint64_t mib = 1 << 20;

/// The scheduler's end of one connection.
struct Peer {
    std::unique_ptr<Link> link;
    std::optional<Role> role;
    std::deque<Frame> frames;
    bool closed = false;
};

struct Cluster {
    Cluster() {
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

    std::unique_ptr<ev::Listener> listen() {
        return must(ev::Listener::bind(loop, "127.0.0.1", 0, [this](Fd fd, std::string) {
            auto *peer = peers.emplace_back(std::make_unique<Peer>()).get();
            peer->link = Link::accept(
                loop, std::move(fd), token,
                {.on_open =
                     [this, peer](Role role) {
                         peer->role = role;
                         if (greets) peer->link->send(encode(welcome));
                     },
                 .on_frame = [peer](Frame frame) { peer->frames.push_back(std::move(frame)); },
                 .on_closed = [peer](bool, const std::string &) { peer->closed = true; }});
        }));
    }
    static std::string address(const ev::Listener &l) {
        return "127.0.0.1:" + std::to_string(l.port());
    }

    static bool by_the_way(const Frame &frame) {
        return frame.type() == "stat" || frame.type() == "here";
    }
    /// ...once the next frame, but what comes by the way, is of that type.
    void on(const char *type, std::function<void(Frame)> act, std::size_t peer = 0) {
        auto due = [this, peer] {
            if (peers.size() <= peer) return false;
            auto &frames = peers[peer]->frames;
            while (!frames.empty() && by_the_way(frames.front())) frames.pop_front();
            return !frames.empty();
        };
        script.when(type, due, [this, type, peer, act] {
            Frame frame = std::move(peers[peer]->frames.front());
            peers[peer]->frames.pop_front();
            ck_text_eq(frame.type(), type);
            act(std::move(frame));
        });
    }
    void on_register() {
        on("register", [](Frame) {});
    }
    /// Ends the script: the worker is told good-bye.
    void bye() {
        script.then([this] { send(encode_bye("over")); });
    }
    void send(Frame frame) { peers.back()->link->send(std::move(frame)); }
    void send_function(std::uint64_t f = 1) {
        send(encode(Function{f, "f", "F" + std::to_string(f)}));
    }
    /// Tasks first..first+count-1, instance 1.
    void send_run(std::uint64_t first, std::uint64_t count, const std::string &args = "x",
                  std::uint64_t f = 1) {
        Run run;
        for (auto k = first; k < first + count; k++) {
            run.f.push_back(f);
            run.k.push_back(k);
            run.i.push_back(1);
            run.len.push_back(args.size());
            run.payload += args;
        }
        send(encode(std::move(run)));
    }

    /// Plays the script; the worker's exit code.
    int play(Memory memory = Memory({}, 0)) {
        script.begin();
        Worker worker(loop, token, settings, std::move(memory));
        int code = must(worker.run());
        script.check_done();
        return code;
    }

    Token token = Token::random();
    ev::Loop loop;
    SteadyClock clock;
    Welcome welcome{"7.0", "native", "127.0.0.1:1", 2, 0, 0, 0};
    bool greets = true;
    std::vector<std::unique_ptr<Peer>> peers;
    std::unique_ptr<ev::Listener> listener;
    worker::Settings settings;
    test::Script script{loop, 20'000};
};

Refs ref(std::uint64_t k, std::uint64_t i = 1) { return {{k}, {i}}; }

bool no_child_is_left() { return ::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD; }

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

// The first waits for the second: both run at once, in a worker of concurrency 1 without an
// interpreter. The third needs all CPUs, and has its turn when both have ended.
START_TEST(test_commands) {
    Cluster c;
    test::Scratch scratch;
    c.settings.lazy = true;
    c.settings.executor.program = "/no/such/python";
    c.settings.executor.env.set("PATH", "/usr/bin:/bin");
    c.on("register", [&](Frame) {
        model::Command common;
        common.directory = scratch.path();
        c.send(encode(Function{1, "one", common.encode(), 1}));
        c.send(encode(Function{2, "all", common.encode(), 4}));
        auto line = [](const std::string &text) {
            model::Command command;
            command.argv = {"sh", "-c", text};
            return command.encode();
        };
        c.send_run(1, 1, line("until [ -e second ]; do sleep 0.02; done; echo first >>order"));
        c.send_run(2, 1, line("echo second >>order; touch second; exit 3"));
        c.send_run(3, 1, line("cat order"), 2);
    });
    auto seen = std::make_shared<std::set<std::uint64_t>>();
    c.script.when(
        "three ends",
        [&c, seen] {
            for (; !c.peers[0]->frames.empty(); c.peers[0]->frames.pop_front()) {
                auto &frame = c.peers[0]->frames.front();
                if (Cluster::by_the_way(frame)) continue;
                ck_text_eq(frame.type(), "done");
                auto done = must(decode_done(std::move(frame)));
                auto values = must(slices(done.payload, done.len));
                for (std::size_t n = 0; n < done.k.size(); n++) {
                    auto ended = must(model::Ended::decode(values[n]));
                    ck_assert_uint_eq(ended.exit, done.k[n] == 2 ? 3 : 0);
                    ck_assert_uint_eq(done.raised[n], done.k[n] == 2);
                    if (done.k[n] == 3) ck_text_eq(ended.output, "second\nfirst\n");
                    seen->insert(done.k[n]);
                }
            }
            return seen->size() == 3;
        },
        [] {});
    c.bye();
    ck_assert_int_eq(c.play(), 0);
    ck_assert(no_child_is_left());
}
END_TEST

START_TEST(test_a_command_that_is_killed) {
    Cluster c;
    test::Scratch scratch;
    c.settings.lazy = true;
    c.settings.executor.env.set("PATH", "/usr/bin:/bin");
    c.on("register", [&](Frame) {
        c.send(encode(Function{1, "wait", "", 4}));
        model::Command command;
        command.argv = {"sh", "-c", "touch " + (scratch / "begun") + "; exec sleep 600"};
        c.send_run(1, 1, command.encode());
        command.argv = {"true"};
        c.send_run(2, 1, command.encode());
    });
    c.script.when(
        "its begin", [&] { return std::filesystem::exists(scratch / "begun"); },
        [&] { c.send(encode_refs("kill", ref(1))); });
    c.on("done", [](Frame frame) { // of the other alone
        ck_assert_uint_eq(must(decode_done(std::move(frame))).k[0], 2);
    });
    c.bye();
    ck_assert_int_eq(c.play(), 0);
    ck_assert(no_child_is_left());
}
END_TEST

START_TEST(test_raised_and_too_large) {
    Cluster c;
    c.settings.executor = fakes::executor(R"(
ready()
for function, task, body in calls():
    if task == 1:
        send(6, task, b"the error")
    else:
        send(7, task, b"70000000" if task == 2 else b"\0 evil \xff")
)");
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 3);
    });
    c.on("done", [](Frame frame) {
        auto done = must(decode_done(std::move(frame)));
        ck_assert((done.k == Column{1} && done.raised == Column{1}));
        ck_text_eq(done.payload, "the error");
    });
    for (auto size : {"70000000", "0"})
        c.on("failed", [size](Frame frame) {
            auto failure = must(decode_failure(std::move(frame)));
            ck_assert(failure.kind == FailureKind::too_large);
            ck_text_eq(failure.message, ("its result has " + std::string(size) +
                                         " bytes; at most 64M can be returned")
                                            .c_str());
        });
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// The one that ran is reported; the others run in the next process.
START_TEST(test_a_crash_costs_one_task) {
    Cluster c;
    c.settings.executor = fakes::executor(R"(
ready()
for function, task, body in calls():
    if task == 2:
        os.kill(os.getpid(), signal.SIGBUS)
    if task == 3:
        os._exit(5)
    send(5, task, b"v")
)");
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 4);
    });
    auto done = [](std::uint64_t k) {
        return
            [k](Frame frame) { ck_assert((must(decode_done(std::move(frame))).k == Column{k})); };
    };
    c.on("done", done(1));
    c.on("failed", [](Frame frame) {
        auto failure = must(decode_failure(std::move(frame)));
        ck_assert_uint_eq(failure.k, 2);
        ck_assert_uint_eq(failure.i, 1);
        ck_assert(failure.kind == FailureKind::crashed);
        ck_assert_uint_eq(failure.signal, SIGBUS);
        ck_text_eq(failure.message, "the process that ran it ended with signal 7 (Bus error)");
    });
    c.on("failed", [](Frame frame) {
        auto failure = must(decode_failure(std::move(frame)));
        ck_assert_uint_eq(failure.k, 3);
        ck_assert_uint_eq(failure.signal, 0);
        ck_assert_uint_eq(failure.exit, 5);
    });
    c.on("done", done(4));
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

START_TEST(test_concurrency) {
    Cluster c;
    test::Scratch scratch;
    c.settings.about.concurrency = 2;
    // Each of the two calls waits until the other has begun.
    c.settings.executor = fakes::executor("place = '" + scratch.path() + R"('
ready()
for function, task, body in calls():
    open(place + "/" + str(task), "w")
    while len(os.listdir(place)) < 2:
        time.sleep(0.001)
    send(5, task, b"v")
)");
    c.on("register", [&](Frame frame) {
        ck_assert_uint_eq(must(decode_register(frame.header)).concurrency, 2);
        c.send_function();
        c.send_run(1, 2);
    });
    auto seen = std::make_shared<std::size_t>(0);
    c.script.when(
        "both",
        [&c, seen] {
            for (; !c.peers[0]->frames.empty(); c.peers[0]->frames.pop_front())
                if (c.peers[0]->frames.front().type() == "done")
                    *seen += must(decode_done(c.peers[0]->frames.front())).k.size();
            return *seen == 2;
        },
        [] {});
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

const char *holding = R"(
ready()
for function, task, body in calls():
    if body == b"hold":
        time.sleep(60)
    send(5, task, b"v")
)";

// What has not begun comes back; the answer comes even where nothing does.
START_TEST(test_retract) {
    Cluster c;
    c.settings.executor = fakes::executor(holding);
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 4, "hold");
    });
    c.script.when(
        "the first to begin", [] { return true; },
        [&] {
            c.send(encode_refs("retract",
                               {{3, 4, 9, 2}, {1, 1, 1, 7}})); // 9: unknown; 2: another dispatch
        });
    c.on("retracted", [&](Frame frame) {
        auto refs = must(decode_refs(frame));
        ck_assert((refs.k == Column{3, 4} && refs.i == Column{1, 1}));
        c.send(encode_refs("retract", ref(3)));
    });
    c.on("retracted", [](Frame frame) { ck_assert(must(decode_refs(frame)).k.empty()); });
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// The running one dies with its process, unreported; the next one runs.
START_TEST(test_kill) {
    Cluster c;
    c.settings.executor = fakes::executor(holding);
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 1, "hold");
        c.send_run(2, 2, "x");
        c.send(encode_refs("kill", {{1, 2, 99}, {1, 1, 1}}));
    });
    c.on("done",
         [](Frame frame) { ck_assert((must(decode_done(std::move(frame))).k == Column{3})); });
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

START_TEST(test_forget) {
    Cluster c;
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 1);
    });
    c.on("done", [&](Frame) {
        auto forget = make_frame("forget");
        forget.header.set("f", Column{1, 7});
        c.send(std::move(forget));
        c.send_run(2, 1); // of a function that it has no more
    });
    ck_assert_int_eq(c.play(), exit_code::cluster_lost);
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

// Values that stay

/// Executors that store what they are told to, write down what they see, and go wrong.
SpawnSpec storing_executor() {
    return fakes::executor(R"(
store = os.environ.get("DTASK_STORE")
def put(name, data):
    with open(store + "/" + name, "wb") as file:
        file.write(data)
ready()
inputs = []
for function, task, body in calls():
    if function == 0: # an input
        inputs.append(body)
    elif body == b"store":
        put(str(task), b"v" * 70000)
        send(9, task, b"70000", 7)
    elif body == b"lie":
        put(str(task), b"v")
        send(9, task, b"70000")
    elif body == b"missing":
        send(10, task, b"/s/9: No such file \xff")
    elif body == b"die":
        put(str(task), b"v")
        put(str(task) + "." + str(os.getpid()), b"v")
        os.kill(os.getpid(), signal.SIGKILL)
    elif body == b"inputs":
        send(5, task, b"|".join(inputs))
    else:
        send(5, task, str(store).encode())
)");
}

std::size_t count_of(const test::Scratch &directory) { return directory.names().size(); }

START_TEST(test_values_stay_until_they_are_free) {
    Cluster c;
    test::Scratch memory, disk;
    c.settings.store = {memory.path(), disk / "spill", true, 0};
    c.settings.executor = storing_executor();
    c.on("register", [&](Frame frame) {
        ck_text_eq(must(decode_register(frame.header)).store, memory.path());
        c.send_function();
        c.send_run(1, 1, "where");
    });
    c.on("done", [&](Frame frame) {
        auto done = must(decode_done(std::move(frame)));
        ck_text_eq(done.payload, memory.path());
        ck_assert(done.stored.empty());
        c.send_run(2, 1, "store");
    });
    c.on("done", [&](Frame frame) {
        auto done = must(decode_done(std::move(frame)));
        ck_assert((done.k == Column{2} && done.stored == Column{70000} && done.us == Column{7}));
        ck_text_eq(done.payload, "");
        ck_assert((memory.names() == std::set<std::string>{"2"}));
        // It is here: nothing is to be fetched.
        c.send(encode(Fetch{2, 70000, "127.0.0.1:1"}));
    });
    c.on("fetched", [&](Frame frame) {
        ck_assert_uint_eq(must(decode_datum(frame)), 2);
        c.send(encode(Fetch{3, 70000, "127.0.0.1:x"}));
    });
    c.on("unfetched", [&](Frame frame) {
        auto m = must(decode_unfetched(frame));
        ck_assert_uint_eq(m.data, 3);
        ck_contains(m.message, "127.0.0.1:x: ");
        std::string path = "/other/2", value = "3in", args = "inputs";
        c.send(encode(Run{{1}, {4}, {1}, {2}, {8, 3}, {17}, path + value + args, {1, 0}}));
    });
    c.on("done", [&](Frame frame) {
        auto done = must(decode_done(std::move(frame)));
        ck_assert(done.payload == worker::load_call("/other/2") + "|3in");
        c.send(encode_data("free", {2, 77}));
    });
    c.script.when("the value to go", [&] { return count_of(memory) == 0; });
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// Neither a lie nor a death leaves anything in the store.
START_TEST(test_values_that_go_wrong) {
    Cluster c;
    test::Scratch memory;
    c.settings.store = {memory.path(), "", true, 0};
    c.settings.executor = storing_executor();
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 1, "lie");
    });
    c.on("failed", [&](Frame frame) {
        auto failure = must(decode_failure(std::move(frame)));
        ck_assert(failure.kind == FailureKind::crashed);
        ck_contains(failure.message, "/1: no file of 70000 bytes");
        ck_assert_uint_eq(count_of(memory), 0);
        c.send_run(2, 1, "missing");
    });
    c.on("failed", [&](Frame frame) {
        auto failure = must(decode_failure(std::move(frame)));
        ck_assert(failure.kind == FailureKind::missing);
        ck_text_eq(failure.message, "an input could not be opened: /s/9: No such file ?");
        c.send_run(3, 1, "die");
    });
    c.on("failed", [&](Frame frame) {
        auto failure = must(decode_failure(std::move(frame)));
        ck_assert(failure.kind == FailureKind::crashed);
        ck_assert_uint_eq(count_of(memory), 0);
    });
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// A task that was cancelled after an executor had it: its value is nobody's.
START_TEST(test_stored_by_a_cancelled_call) {
    Cluster c;
    test::Scratch memory, elsewhere;
    c.settings.store = {memory.path(), "", true, 0};
    c.settings.executor = fakes::executor(R"(
ready()
for function, task, body in calls():
    while body == b"wait" and not os.path.exists(os.environ["GO"]):
        time.sleep(0.001)
    if task == 1:
        send(5, task, b"v", 1)
    else:
        with open(os.environ["DTASK_STORE"] + "/" + str(task), "wb") as file:
            file.write(b"value")
        send(9, task, b"5", 1)
)");
    c.settings.executor.env.set("GO", elsewhere / "go");
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 1, "x");
    });
    c.on("done", [&](Frame) { // calls of microseconds: the second is given ahead
        c.send_run(2, 1, "wait");
        c.send_run(3, 1, "x");
        c.send(encode_refs("kill", ref(3)));
        c.send(encode_refs("retract", ref(99)));
    });
    c.on("retracted", [&](Frame) { // so the others have been seen
        must(replace_file(elsewhere / "go", "", 0600));
        c.send_run(4, 1, "x");
    });
    auto seen = std::make_shared<Column>();
    c.script.when("the others' outcomes", [&c, seen] {
        for (auto &frames = c.peers[0]->frames; !frames.empty(); frames.pop_front())
            if (frames.front().type() == "done")
                for (auto k : must(decode_done(std::move(frames.front()))).k) seen->push_back(k);
        return *seen == Column{2, 4};
    });
    c.script.when("its value to be gone", [&] {
        return memory.names() == std::set<std::string>{"2", "4"};
    });
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// Without a store, or where it cannot be used, values travel as they always did.
START_TEST(test_without_a_store) {
    for (auto place : {"", "/nowhere/store"}) {
        Cluster c;
        c.settings.store = {place, "", false, 0};
        c.settings.executor = storing_executor();
        c.on("register", [&](Frame frame) {
            ck_text_eq(must(decode_register(frame.header)).store, "");
            c.send_function();
            c.send_run(1, 1, "where");
            c.send(encode(Fetch{3, 70000, "127.0.0.1:1"}));
        });
        c.on("unfetched", [](Frame frame) {
            ck_contains(must(decode_unfetched(frame)).message, "keeps no values");
        });
        c.on("done",
             [](Frame frame) { ck_text_eq(must(decode_done(std::move(frame))).payload, "None"); });
        c.bye();
        ck_assert_int_eq(c.play(), 0);
    }
}
END_TEST

// Short of memory it moves values to disk, and kills nobody.
START_TEST(test_moves_values_to_disk) {
    Cluster c;
    test::Scratch memory, disk;
    c.settings.store = {memory.path(), disk / "spill", true, 0};
    c.settings.executor = fakes::executor(R"(
ready()
for function, task, body in calls():
    with open(os.environ["DTASK_STORE"] + "/" + str(task), "wb") as file:
        file.write(b"v" * (8 << 20))
    send(9, task, str(8 << 20).encode())
)");
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 6);
    });
    auto seen = std::make_shared<std::size_t>(0);
    c.script.when("all values", [&c, seen] {
        for (auto &frames = c.peers[0]->frames; !frames.empty(); frames.pop_front()) {
            ck_assert(frames.front().type() != "failed");
            if (frames.front().type() == "done")
                *seen += must(decode_done(std::move(frames.front()))).k.size();
        }
        return *seen == 6;
    });
    c.script.when("enough of them on disk", [&] {
        return std::filesystem::is_symlink(memory / "1") &&
               std::filesystem::is_symlink(memory / "3") &&
               std::filesystem::file_size(disk / "spill/3") == 8 * mib;
    });
    c.bye();
    ck_assert_int_eq(c.play(Memory({}, 50 * mib)), 0);
    ck_assert(!std::filesystem::is_symlink(memory / "6"));
}
END_TEST

/// A worker's group on v1, played by files.
struct Group {
    explicit Group(std::uint64_t limit) {
        layout.root = scratch.path();
        layout.check_magic = false;
        layout.mounts.push_back({"/", scratch / "memory", false, {"memory"}});
        place = scratch / "memory/job_1/step_0/task_0/dtask";
        must(make_directories(place, 0700));
        put("cgroup.procs", "");
        put("memory.limit_in_bytes", std::to_string(limit));
        put("memory.usage_in_bytes", std::to_string(limit));
        put("memory.max_usage_in_bytes", std::to_string(limit));
        put("memory.oom_control", "oom_kill 0\n");
    }
    void put(const std::string &name, const std::string &text) {
        must(replace_file(place + "/" + name, text, 0600));
    }
    Memory memory() {
        cgroup::Membership self{{4, {"memory"}, "/job_1/step_0/task_0"}};
        return Memory(must(cgroup::WorkerGroup::find(layout, self, {1, 0, 0})), 0);
    }

    test::Scratch scratch;
    cgroup::Layout layout;
    std::string place;
};

/// Executors that store 30 MiB, tell whether the value of task 1 is on disk, and are killed by
/// the kernel, as it seems: always, or while that value is in memory.
SpawnSpec tight_executor(const Group &group) {
    auto spec = fakes::executor(R"(
store, group = os.environ["DTASK_STORE"], os.environ["GROUP"]
def moved():
    return os.path.islink(store + "/1")
ready()
for function, task, body in calls():
    if body == b"store":
        with open(store + "/" + str(task), "wb") as file:
            file.write(b"v" * (30 << 20))
        send(9, task, str(30 << 20).encode(), 20000)
    elif body == b"hog" or (body == b"large" and not moved()):
        path = group + "/memory.oom_control"
        kills = int(open(path).read().split()[1]) + 1
        with open(path + ".new", "w") as file:
            file.write("oom_kill %d\n" % kills)
        os.rename(path + ".new", path)
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        send(5, task, b"moved" if moved() else b"in memory", 20000)
)");
    spec.env.set("GROUP", group.place);
    return spec;
}

// While values are moved no call begins: it might not find the memory that it needs.
START_TEST(test_calls_wait_for_room) {
    Cluster c;
    Group group(40 * mib); // the value of 30 MiB alone is more than it may keep
    test::Scratch memory, disk;
    c.settings.store = {memory.path(), disk / "spill", true, 0};
    c.settings.executor = tight_executor(group);
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 1, "store");
        c.send_run(2, 1, "look");
    });
    auto seen = std::make_shared<std::string>();
    c.script.when("both outcomes", [&c, seen] {
        for (auto &frames = c.peers[0]->frames; !frames.empty(); frames.pop_front())
            if (frames.front().type() == "done")
                *seen += must(decode_done(std::move(frames.front()))).payload;
        return !seen->empty();
    });
    c.bye();
    ck_assert_int_eq(c.play(group.memory()), 0);
    ck_text_eq(*seen, "moved");
}
END_TEST

// A call that is killed where values had taken the memory runs once more without them; one that
// takes too much by itself is reported then.
START_TEST(test_values_give_way_to_calls) {
    Cluster c;
    Group group(200 * mib); // room enough, it seems
    test::Scratch memory, disk;
    c.settings.store = {memory.path(), disk / "spill", true, 0};
    c.settings.executor = tight_executor(group);
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 1, "store");
    });
    c.on("done", [&](Frame) { c.send_run(2, 1, "large"); });
    c.on("done", [&](Frame frame) {
        ck_text_eq(must(decode_done(std::move(frame))).payload, "moved");
        c.send_run(3, 1, "store");
    });
    c.on("done", [&](Frame) { c.send_run(4, 1, "hog"); });
    c.on("failed", [&](Frame frame) {
        auto failure = must(decode_failure(std::move(frame)));
        ck_assert_uint_eq(failure.k, 4);
        ck_assert(failure.kind == FailureKind::memory);
        ck_text_eq(must(read_file(group.place + "/memory.oom_control")), "oom_kill 3\n");
    });
    c.bye();
    ck_assert_int_eq(c.play(group.memory()), 0);
}
END_TEST

std::size_t children() {
    std::ifstream list("/proc/self/task/" + std::to_string(::getpid()) + "/children");
    return static_cast<std::size_t>(
        std::distance(std::istream_iterator<int>(list), std::istream_iterator<int>()));
}

// An executor whose calls of "wait" wait for the file `go`, and say so.
SpawnSpec waiting_executor(const std::string &go) {
    return fakes::executor("go = \"" + go + R"("
ready()
waited = False
for function, task, body in calls():
    if waited and "void" not in functions:
        continue # taken back
    if body == b"wait":
        send(11, task)
        send(11, task)
        while not os.path.exists(go):
            time.sleep(0.01)
        send(12, task)
        waited = True
    send(5, task, b"%d %s" % (os.getpid(), functions["cluster"]), 1)
)");
}

void expect_blocked(Cluster &c, std::uint64_t count) {
    c.on("blocked",
         [count](Frame frame) { ck_assert_uint_eq(must(frame.header.natural("n")), count); });
}

// A call that waits for others leaves its slot to them, and those that were
// given ahead of it; what is too much afterwards is retired.
START_TEST(test_blocked_calls_hold_no_slot) {
    test::Scratch scratch;
    auto go = scratch / "go";
    Cluster c;
    c.settings.executor = waiting_executor(go);
    std::string first;
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 1);
    });
    c.on("done", [&](Frame frame) { // of µs: the next ones are given ahead
        first = must(decode_done(std::move(frame))).payload;
        ck_assert(first.ends_with(" " + Cluster::address(*c.listener)));
        c.send_run(2, 1, "wait");
        c.send_run(3, 2);
    });
    expect_blocked(c, 1);
    auto seen = std::make_shared<std::size_t>(0);
    c.script.when(
        "what was behind it",
        [&, seen] {
            for (auto &frames = c.peers[0]->frames; !frames.empty(); frames.pop_front()) {
                if (Cluster::by_the_way(frames.front())) continue;
                auto done = must(decode_done(std::move(frames.front())));
                ck_assert(done.k[0] == 3 || done.k[0] == 4);
                ck_assert(!done.payload.starts_with(first)); // elsewhere
                *seen += done.k.size();
            }
            return *seen == 2;
        },
        [&] {
            ck_assert_uint_eq(children(), 2);
            std::ofstream(go).put('\n');
        });
    expect_blocked(c, 0);
    c.on("done", [&](Frame frame) {
        auto done = must(decode_done(std::move(frame)));
        ck_assert((done.k == Column{2}));
        ck_text_eq(done.payload, first);
    });
    c.script.when("one process again", [] { return children() == 1; });
    c.script.then([&] { c.send_run(5, 1); });
    c.on("done", [](Frame frame) { ck_assert(must(decode_done(std::move(frame))).k[0] == 5); });
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// Killed while it waits, or dead of its own: the slot is counted again.
START_TEST(test_blocked_calls_end) {
    test::Scratch scratch;
    Cluster c;
    c.settings.executor = waiting_executor(scratch / "never");
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 2, "wait");
    });
    expect_blocked(c, 1);
    expect_blocked(c, 2);
    c.script.then([&] { c.send(encode_refs("kill", ref(1))); });
    expect_blocked(c, 1);
    c.script.then([&] { c.send_run(3, 1); });
    c.on("done", [](Frame frame) { ck_assert(must(decode_done(std::move(frame))).k[0] == 3); });
    c.script.then([&] { c.send(encode_refs("kill", ref(2))); });
    expect_blocked(c, 0);
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// Calls that wait leave no memory for another executor to start: the last of
// them is the one that passed the limit.
START_TEST(test_blocked_calls_give_way) {
    test::Scratch scratch;
    auto first = scratch / "first";
    Cluster c;
    c.settings.executor = fakes::executor("first = \"" + first + R"("
if not os.path.exists(first):
    open(first, "w").close()
elif not os.path.exists(first + "-dead"):
    large = b"x" * (120 << 20)
    time.sleep(60)
ready()
for function, task, body in calls():
    if body == b"wait":
        send(11, task)
        time.sleep(60)
    send(5, task, b"")
)");
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 1, "wait");
        c.send_run(2, 1);
    });
    expect_blocked(c, 1);
    c.on("failed", [&](Frame frame) {
        auto failure = must(decode_failure(std::move(frame)));
        ck_assert_uint_eq(failure.k, 1);
        ck_assert(failure.kind == FailureKind::memory);
        std::ofstream(first + "-dead").put('\n');
    });
    expect_blocked(c, 0);
    c.on("done", [](Frame frame) { ck_assert(must(decode_done(std::move(frame))).k[0] == 2); });
    c.bye();
    ck_assert_int_eq(c.play(Memory({}, 60 * mib)), 0);
}
END_TEST

Suite *suite() {
    auto s = suite_create("worker");
    auto c = tcase_create("worker");
    tcase_set_timeout(c, 60);
    for (auto test : {test_registers_runs_and_ends,
                      test_commands,
                      test_a_command_that_is_killed,
                      test_raised_and_too_large,
                      test_a_crash_costs_one_task,
                      test_concurrency,
                      test_retract,
                      test_kill,
                      test_forget,
                      test_frames_that_are_wrong,
                      test_executors_that_do_not_start,
                      test_no_interpreter,
                      test_scheduler_lost,
                      test_scheduler_not_found,
                      test_sigterm_ends_it,
                      test_sigint,
                      test_slow_greeting,
                      test_follows_the_address,
                      test_door,
                      test_memory_watch,
                      test_killed_below_the_limit,
                      test_values_stay_until_they_are_free,
                      test_values_that_go_wrong,
                      test_stored_by_a_cancelled_call,
                      test_without_a_store,
                      test_moves_values_to_disk,
                      test_calls_wait_for_room,
                      test_values_give_way_to_calls,
                      test_blocked_calls_hold_no_slot,
                      test_blocked_calls_end,
                      test_blocked_calls_give_way})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

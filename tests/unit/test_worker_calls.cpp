// SPDX-License-Identifier: Apache-2.0
//
// What becomes of calls in a worker: they run, fail, crash, are taken back and killed, and wait
// for others.
#include "tests/unit/unit.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/log.h"
#include "tests/fakes/executor.h"
#include "tests/unit/scratch.h"
#include "tests/unit/worker_cluster.h"

using namespace dtask;
using namespace dtask::proto;
using dtask::test::Cluster;
using dtask::test::mib;
using dtask::test::must;
using dtask::test::no_child_is_left;
using dtask::test::ref;
using dtask::worker::Memory;

namespace {

// The first waits for the second: both run at once, in a worker of concurrency 1 without an
// interpreter. The third needs all CPUs, and has its turn when both have ended.
START_TEST(test_commands) {
    Cluster c;
    test::Scratch scratch;
    c.settings.lazy = true;
    c.settings.executor.program = "/no/such/python";
    c.settings.commands.set("PATH", "/usr/bin:/bin");
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

// More end in one turn than are dealt with in it.
START_TEST(test_many_commands_at_once) {
    constexpr std::uint64_t count = 100;
    Cluster c;
    c.settings.lazy = true;
    c.settings.about.nthreads = 40;
    c.settings.commands.set("PATH", "/usr/bin:/bin");
    c.on("register", [&](Frame) {
        c.send(encode(Function{1, "true", "", 1}));
        model::Command command;
        command.argv = {"true"};
        for (std::uint64_t task = 1; task <= count; task++) c.send_run(task, 1, command.encode());
    });
    auto seen = std::make_shared<std::set<std::uint64_t>>();
    c.script.when(
        "all end",
        [&c, seen] {
            for (; !c.peers[0]->frames.empty(); c.peers[0]->frames.pop_front()) {
                auto &frame = c.peers[0]->frames.front();
                if (Cluster::by_the_way(frame)) continue;
                auto done = must(decode_done(std::move(frame)));
                for (auto task : done.k) ck_assert(seen->insert(task).second);
            }
            return seen->size() == count;
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
    c.settings.commands.set("PATH", "/usr/bin:/bin");
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
    auto s = suite_create("worker_calls");
    auto c = tcase_create("worker_calls");
    tcase_set_timeout(c, 60);
    for (auto test : {test_commands, test_many_commands_at_once, test_a_command_that_is_killed,
                      test_raised_and_too_large, test_a_crash_costs_one_task, test_concurrency,
                      test_retract, test_kill, test_forget, test_blocked_calls_hold_no_slot,
                      test_blocked_calls_end, test_blocked_calls_give_way})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

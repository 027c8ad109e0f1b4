// SPDX-License-Identifier: Apache-2.0
//
// One executor process, well-behaved and not: what is reported of it, in which
// order, and that nothing of it is left.
#include "tests/unit/unit.h"

#include <csignal>
#include <optional>
#include <vector>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/log.h"
#include "lib/base/strings.h"
#include "runtime/worker/executor.h"
#include "tests/fakes/executor.h"
#include "tests/unit/scratch.h"
#include "tests/unit/wait.h"

using namespace dtask;
using dtask::proto::RecordKind;
using dtask::test::error_of;
using dtask::test::must;
using dtask::test::settle;
using dtask::test::wait_for;
using dtask::worker::Call;
using dtask::worker::Executor;

namespace {

struct Outcome {
    Call call;
    RecordKind kind;
    std::string value;
    std::uint64_t us;
};

/// An executor whose events are kept; SIGCHLD is watched as the worker does.
struct Played {
    ev::Loop loop;
    std::vector<Outcome> outcomes;
    int ready = 0;
    std::optional<int> status; ///< once it is dead
    std::optional<ev::Signal> child;
    std::unique_ptr<Executor> executor;

    explicit Played(SpawnSpec spec) {
        child.emplace(loop, SIGCHLD, [this] { reap(); });
        executor = must(Executor::start(
            loop, std::move(spec),
            {.on_ready = [this] { ready++; },
             .on_outcome =
                 [this](Call call, RecordKind kind, std::string value, std::uint64_t us) {
                     ck_assert(!status);
                     outcomes.push_back({std::move(call), kind, std::move(value), us});
                 },
             .on_dead =
                 [this](int how) {
                     ck_assert(!status);
                     status = how;
                 }}));
    }
    void reap() {
        int how;
        if (executor && ::waitpid(executor->pid(), &how, WNOHANG) > 0) executor->on_reaped(how);
    }
    void start() {
        wait_for(loop, "the executor to be ready", [&] { return ready == 1; });
        ck_assert(executor->ready());
    }
    void call(std::uint64_t task, std::string args = "args", std::uint64_t function = 1) {
        executor->call({function, task, task + 100, std::move(args)},
                       "f" + std::to_string(function));
    }
    void wait_dead() {
        wait_for(loop, "the executor's death", [&] { return status.has_value(); });
        ck_assert(executor->dead());
    }
};

bool exists(pid_t pid) { return ::kill(pid, 0) == 0; }

START_TEST(test_runs_calls_in_order) {
    Played p(fakes::good_executor());
    ck_assert(!p.executor->ready());
    p.start();
    p.call(1, "one");
    p.call(2, "two", 2);
    p.call(3, "", 1);
    ck_assert_uint_eq(p.executor->in_flight().size(), 3);
    wait_for(p.loop, "three results", [&] { return p.outcomes.size() == 3; });
    ck_text_eq(p.outcomes[0].value, "f1:one");
    ck_text_eq(p.outcomes[1].value, "f2:two");
    ck_text_eq(p.outcomes[2].value, "f1:");
    ck_assert_uint_eq(p.outcomes[1].call.task, 2);
    ck_assert_uint_eq(p.outcomes[1].call.instance, 102);
    ck_assert_uint_eq(p.outcomes[1].us, 7);
    ck_assert(p.outcomes[0].kind == RecordKind::result);
    ck_assert(p.executor->in_flight().empty());
}
END_TEST

// A function is sent once, and again after it was forgotten.
START_TEST(test_functions) {
    Played p(fakes::executor(R"(
ready()
for function, task, body in calls():
    send(5, task, str(sorted(functions)).encode())
)"));
    p.start();
    p.executor->forget(9); // never sent: nothing to say
    p.call(1, "", 1);
    p.call(2, "", 2);
    wait_for(p.loop, "two results", [&] { return p.outcomes.size() == 2; });
    ck_text_eq(p.outcomes[1].value, "[1, 2]");
    p.executor->forget(1);
    p.call(3, "", 2);
    p.call(4, "", 1);
    wait_for(p.loop, "two more", [&] { return p.outcomes.size() == 4; });
    ck_text_eq(p.outcomes[2].value, "[2]");
    ck_text_eq(p.outcomes[3].value, "[1, 2]");
}
END_TEST

START_TEST(test_large_values) {
    Played p(fakes::good_executor());
    p.start();
    std::string large(5 << 20, 'x');
    for (std::uint64_t task = 1; task <= 3; task++) p.call(task, large);
    wait_for(
        p.loop, "15 MiB there and back", [&] { return p.outcomes.size() == 3; }, 20'000);
    for (auto &outcome : p.outcomes) ck_assert(outcome.value == "f1:" + large);
}
END_TEST

START_TEST(test_kinds_of_outcome) {
    Played p(fakes::executor(R"(
ready()
for function, task, body in calls():
    send(int(body), task, b"12345")
)"));
    p.start();
    for (auto kind : {"5", "6", "7"}) p.call(1, kind);
    wait_for(p.loop, "three outcomes", [&] { return p.outcomes.size() == 3; });
    ck_assert(p.outcomes[1].kind == RecordKind::error);
    ck_assert(p.outcomes[2].kind == RecordKind::too_large);
}
END_TEST

// Values that stay in a store, and inputs that were not there.
START_TEST(test_outcomes_about_stores) {
    Played p(fakes::executor(R"(
ready()
for function, task, body in calls():
    send(9 if task == 1 else 10, task, body, 7)
)"));
    p.start();
    p.call(1, "70000");
    p.call(2, "why");
    wait_for(p.loop, "both", [&] { return p.outcomes.size() == 2; });
    ck_assert(p.outcomes[0].kind == RecordKind::stored);
    ck_text_eq(p.outcomes[0].value, "70000");
    ck_assert_uint_eq(p.outcomes[0].us, 7);
    ck_assert(p.outcomes[1].kind == RecordKind::missing);
    ck_text_eq(p.outcomes[1].value, "why");
}
END_TEST

START_TEST(test_not_started) {
    ev::Loop loop;
    auto spec = fakes::good_executor();
    spec.program = "/no/such/python";
    ck_contains(error_of(Executor::start(loop, spec, {})), "executor: /no/such/python: No such");
}
END_TEST

START_TEST(test_dies_before_it_is_ready) {
    Played p(fakes::executor("sys.exit(3)"));
    p.wait_dead();
    ck_assert(!p.executor->ready());
    ck_text_eq(describe_status(*p.status), "exit code 3");
    ck_assert(p.executor->in_flight().empty());
}
END_TEST

START_TEST(test_dies_in_a_call) {
    Played p(fakes::executor(R"(
ready()
for function, task, body in calls():
    os.kill(os.getpid(), signal.SIGSEGV)
)"));
    p.start();
    p.call(1);
    p.call(2);
    p.wait_dead();
    ck_assert_int_eq(shell_code(*p.status), 128 + SIGSEGV);
    ck_assert(p.outcomes.empty());
    auto left = p.executor->take_in_flight();
    ck_assert_uint_eq(left.size(), 2);
    ck_assert_uint_eq(left[0].task, 1);
    ck_text_eq(left[1].args, "args"); // to run it elsewhere
    ck_assert(p.executor->in_flight().empty());
}
END_TEST

// A result that was written just before the end counts.
// The clock runs from the moment that a call is the first one.
START_TEST(test_a_call_takes_too_long) {
    Played p(fakes::executor(R"(
ready()
for function, task, body in calls():
    if body == b"long":
        time.sleep(600)
    send(5, task, b"short", 7)
)"));
    p.start();
    p.call(1, "short");
    Call call{1, 2, 102, "long"};
    call.timeout_ms = 50;
    p.executor->call(std::move(call), "f1");
    p.wait_dead();
    ck_assert(p.executor->overdue());
    ck_assert_uint_eq(p.outcomes.size(), 1);
    ck_assert_uint_eq(p.executor->in_flight().front().task, 2);
}
END_TEST

START_TEST(test_last_words) {
    Played p(fakes::executor(R"(
ready()
for function, task, body in calls():
    send(5, task, b"x" * 3000)
    os._exit(9)
)"));
    p.start();
    p.call(1);
    p.call(2);
    p.wait_dead();
    ck_assert_uint_eq(p.outcomes.size(), 1);
    ck_assert_uint_eq(p.outcomes[0].value.size(), 3000);
    ck_assert_uint_eq(p.executor->in_flight().size(), 1);
    ck_assert_uint_eq(p.executor->in_flight()[0].task, 2);
}
END_TEST

START_TEST(test_dies_in_the_middle_of_a_record) {
    Played p(fakes::executor(R"(
ready()
for function, task, body in calls():
    os.write(3, head.pack(5, 0, task, 100) + b"half")
    os._exit(0)
)"));
    p.start();
    p.call(1);
    p.wait_dead();
    ck_assert(p.outcomes.empty());
    ck_assert_uint_eq(p.executor->in_flight().size(), 1);
}
END_TEST

START_TEST(test_dies_while_idle) {
    Played p(fakes::good_executor());
    p.start();
    ::kill(p.executor->pid(), SIGKILL);
    p.wait_dead();
    ck_assert_int_eq(shell_code(*p.status), 128 + SIGKILL);
    ck_assert(p.executor->ready());
}
END_TEST

// Once it is known to have gone, it takes no call more: none would be to blame.
START_TEST(test_takes_no_calls_once_its_socket_is_closed) {
    Played p(fakes::executor("ready(); os.close(3); time.sleep(60)"));
    wait_for(p.loop, "its end", [&] { return p.status.has_value(); });
    ck_assert(!p.executor->takes_calls());
    ck_assert_int_eq(shell_code(*p.status), 128 + SIGKILL); // of no use: killed
}
END_TEST

// A child that left the group and holds the socket open delays the report a
// little, not for ever.
START_TEST(test_child_holds_the_socket) {
    test::Scratch scratch;
    Played p(fakes::executor("path = '" + (scratch / "pid") + R"('
ready()
for function, task, body in calls():
    if os.fork() == 0:
        os.setsid()
        open(path, "w").write(str(os.getpid()) + "\n")
        time.sleep(60)
        os._exit(0)
    while not os.path.exists(path) or not open(path).read():
        pass
    os._exit(4)
)"));
    p.start();
    p.call(1);
    p.wait_dead();
    ck_text_eq(describe_status(*p.status), "exit code 4");
    auto pid = parse_uint(trim(must(read_file(scratch / "pid"))));
    ::kill(static_cast<pid_t>(*pid), SIGKILL);
}
END_TEST

// What it started in its group goes with it.
START_TEST(test_group_is_killed) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (bool killed : {false, true}) {
        Played p(fakes::executor(R"(
ready()
for function, task, body in calls():
    pid = os.fork()
    if pid == 0:
        os.close(3)
        time.sleep(60)
    send(5, task, str(pid).encode())
)"));
        p.start();
        p.call(1);
        wait_for(p.loop, "the child", [&] { return p.outcomes.size() == 1; });
        auto child = static_cast<pid_t>(*parse_uint(p.outcomes[0].value));
        ck_assert(exists(child));
        if (killed) {
            p.executor->kill();
            p.wait_dead();
        } else {
            p.child.reset();
            auto pid = p.executor->pid();
            p.executor.reset(); // whoever destroys it kills the group
            ck_assert_int_eq(::waitpid(pid, nullptr, 0), pid);
        }
        int how = 0;
        ck_assert_int_eq(::waitpid(child, &how, 0), child); // it became ours
        ck_assert_int_eq(shell_code(how), 128 + SIGKILL);
    }
}
END_TEST

// It runs the user's code: what it says is checked.
START_TEST(test_says_nonsense) {
    must(log::open("", log::Level::error, ""));
    for (auto script :
         {"os.write(3, b'hello, this is no record of any kind')",
          "os.write(3, head.pack(5, 0, 1, 1 << 60))", "os.write(3, head.pack(1, 0, 1, 0))"}) {
        Played p(fakes::executor(std::string("ready(); ") + script + "; time.sleep(60)"));
        p.start();
        p.call(1);
        p.wait_dead();
        ck_assert_int_eq(shell_code(*p.status), 128 + SIGKILL);
        ck_assert(p.outcomes.empty());
        ck_assert_uint_eq(p.executor->in_flight().size(), 1);
    }
}
END_TEST

// Answers to what was not asked, as from a child that shares the socket.
START_TEST(test_answers_nobody_asked_for) {
    Played p(fakes::executor(R"(
send(5, 1, b"early")
ready()
for function, task, body in calls():
    send(5, task + 1, b"another's")
    send(5, task, b"right")
    send(5, task, b"twice")
)"));
    p.start();
    p.call(1);
    p.call(5);
    wait_for(p.loop, "two results", [&] { return p.outcomes.size() == 2; });
    settle(p.loop);
    ck_assert_uint_eq(p.outcomes.size(), 2);
    for (auto &outcome : p.outcomes) ck_text_eq(outcome.value, "right");
}
END_TEST

START_TEST(test_drop) {
    Played p(fakes::executor(R"(
ready()
for function, task, body in calls():
    if body == b"wait":
        while True:
            time.sleep(1)
    send(5, task, body)
)"));
    p.start();
    p.call(1, "wait");
    p.call(2, "second");
    ck_assert(!p.executor->drop(2, 999)); // another dispatch of it
    ck_assert(!p.executor->drop(2, 102)); // given ahead: not running
    ck_assert(p.executor->drop(1, 101));  // this one runs
    ck_assert(!p.executor->drop(3, 103)); // not here
    auto &calls = p.executor->in_flight();
    ck_assert(calls[0].dropped && calls[1].dropped);
    p.executor->kill();
    p.wait_dead();
}
END_TEST

// Its standard input is empty, its output the worker's, its descriptor 3 the socket.
START_TEST(test_its_surroundings) {
    Played p(fakes::executor(R"(
ready()
for function, task, body in calls():
    send(5, task, ("%s %d" % (os.readlink("/proc/self/fd/0"), os.getpgrp() == os.getpid())).encode())
)"));
    p.start();
    p.call(1);
    wait_for(p.loop, "the answer", [&] { return p.outcomes.size() == 1; });
    ck_text_eq(p.outcomes[0].value, "/dev/null 1");
}
END_TEST

Suite *suite() {
    auto s = suite_create("executor");
    auto c = tcase_create("executor");
    tcase_set_timeout(c, 30);
    for (auto test : {test_runs_calls_in_order, test_functions, test_large_values,
                      test_kinds_of_outcome, test_outcomes_about_stores, test_not_started,
                      test_dies_before_it_is_ready, test_dies_in_a_call, test_a_call_takes_too_long,
                      test_last_words, test_dies_in_the_middle_of_a_record, test_dies_while_idle,
                      test_takes_no_calls_once_its_socket_is_closed, test_child_holds_the_socket,
                      test_group_is_killed, test_says_nonsense, test_answers_nobody_asked_for,
                      test_drop, test_its_surroundings})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
//
// Where executors come from: the real process that forks them, and ones that end, or
// are unfit, before they have.
#include "tests/unit/unit.h"

#include <csignal>
#include <map>
#include <optional>

#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/strings.h"
#include "runtime/worker/nursery.h"
#include "tests/fakes/executor.h"
#include "tests/unit/wait.h"

using namespace dtask;
using dtask::test::must;
using dtask::test::settle;
using dtask::worker::Executor;
using dtask::worker::Nursery;

namespace {

// For a Python that loads, on a machine that does much else.
void wait_for(ev::Loop &loop, const char *what, const std::function<bool()> &come) {
    constexpr std::int64_t long_ms = 30'000;
    dtask::test::wait_for(loop, what, come, long_ms);
}

SpawnSpec python(std::vector<std::string> arguments) {
    SpawnSpec spec;
    spec.program = DTASK_TEST_PYTHON;
    spec.argv = {"python3"};
    spec.argv.insert(spec.argv.end(), arguments.begin(), arguments.end());
    spec.env.set("PATH", "/usr/bin:/bin");
    spec.env.set("PYTHONPATH", DTASK_SOURCE_DIR "/python");
    return spec;
}

/// A nursery, and its children reaped as the worker does.
struct Played {
    struct One {
        std::unique_ptr<Executor> executor;
        bool ready = false;
        std::optional<int> status;
    };
    ev::Loop loop;
    std::optional<Nursery> nursery;
    std::map<int, One> all;
    ev::Signal child{loop, SIGCHLD, [this] { reap(); }};

    explicit Played(SpawnSpec of, std::int64_t patience_ms = 60'000) {
        nursery.emplace(loop, fakes::good_executor(), std::move(of), patience_ms);
    }
    ~Played() { all.clear(); }

    One &start(int n) {
        auto &one = all[n];
        one.executor = must(nursery->executor({.on_ready = [&one] { one.ready = true; },
                                               .on_outcome = {},
                                               .on_dead = [&one](int how) { one.status = how; }}));
        return one;
    }
    void reap() {
        int how;
        for (pid_t pid; (pid = ::waitpid(-1, &how, WNOHANG)) > 0;) {
            bool known = false;
            for (auto &[n, one] : all)
                if (one.executor && !one.executor->dead() && one.executor->pid() == pid) {
                    one.executor->on_reaped(how);
                    known = true;
                    break;
                }
            if (!known) nursery->on_reaped(pid, how);
        }
    }
};

std::string file_of(pid_t pid, const std::string &name) {
    return must(read_file("/proc/" + std::to_string(pid) + "/" + name));
}

// They are children of ours, which waitpid tells the end of; they look like
// executors, and have neither each other's descriptors nor the nursery's.
START_TEST(test_forks_executors) {
    Played p(python({"-m", "dtask._nursery"}));
    auto &first = p.start(1), &second = p.start(2);
    ck_assert_int_eq(first.executor->pid(), 0);
    wait_for(p.loop, "two executors", [&] { return first.ready && second.ready; });
    pid_t pid = first.executor->pid();
    ck_assert_int_ne(pid, second.executor->pid());
    ck_assert_int_gt(p.nursery->pid(), 0);
    ck_contains(file_of(pid, "status"), "PPid:\t" + std::to_string(::getpid()) + "\n");
    ck_text_eq(file_of(pid, "cmdline"), std::string("python3\0-m\0dtask.executor\0", 26));
    ck_contains(file_of(p.nursery->pid(), "cmdline"), "dtask._nursery");
    ck_text_eq(file_of(pid, "oom_score_adj"), std::to_string(first_to_die) + "\n");
    ck_assert_int_eq(::getpgid(pid), pid);

    ck_assert_int_eq(::kill(pid, SIGKILL), 0);
    wait_for(p.loop, "its end", [&] { return first.status.has_value(); });
    ck_text_eq(describe_status(*first.status), "signal 9 (Killed)");
    ck_assert(!second.status);
    auto &third = p.start(3);
    wait_for(p.loop, "a third", [&] { return third.ready; });

    // Nobody else holds an executor's socket open: it sees the end of file.
    pid = second.executor->pid();
    pid_t nursery = p.nursery->pid();
    ck_assert_int_eq(::kill(nursery, SIGKILL), 0);
    wait_for(p.loop, "the nursery's end", [&] { return p.nursery->pid() == 0; });
    settle(p.loop);
    ck_assert(!second.status && !third.status);
    auto &fourth = p.start(4);
    wait_for(p.loop, "one of another nursery", [&] { return fourth.ready; });
    ck_assert_int_ne(p.nursery->pid(), nursery);
}
END_TEST

START_TEST(test_ends_before_they_are_born) {
    Played p(python({"-S", "-c", "import sys; sys.exit(3)"}));
    auto &one = p.start(1), &other = p.start(2);
    wait_for(p.loop, "both ends", [&] { return one.status && other.status; });
    ck_text_eq(describe_status(*one.status), "exit code 3");
    ck_assert(!one.ready && one.executor->dead());
    ck_assert_int_eq(p.nursery->pid(), 0);
}
END_TEST

START_TEST(test_unfit) {
    Played p(python({"-S", "-c", "import sys; sys.exit(79)"}));
    auto &one = p.start(1);
    wait_for(p.loop, "an executor that was spawned", [&] { return one.ready; });
    ck_assert_int_gt(one.executor->pid(), 0);
    auto &other = p.start(2);
    ck_assert_int_gt(other.executor->pid(), 0); // at once: no other nursery is tried
    wait_for(p.loop, "another", [&] { return other.ready; });
    ck_assert_int_eq(p.nursery->pid(), 0);
    ck_assert_int_eq(::kill(one.executor->pid(), SIGKILL), 0);
    wait_for(p.loop, "its end", [&] { return one.status.has_value(); });
}
END_TEST

// What an executor of a thread-starting preload would be is the same.
START_TEST(test_threads_are_unfit) {
    auto of = python({"-m", "dtask._nursery"});
    of.env.set("PYTHONPATH", DTASK_SOURCE_DIR "/python:" DTASK_SOURCE_DIR "/tests/fakes");
    of.env.set("DTASK_PRELOAD", "threads_at_import");
    Played p(of);
    auto &one = p.start(1);
    wait_for(p.loop, "an executor that was spawned", [&] { return one.ready; });
    ck_assert_int_eq(p.nursery->pid(), 0);
    ck_contains(file_of(one.executor->pid(), "cmdline"), "functions[function]");
}
END_TEST

START_TEST(test_not_wanted_before_it_is_born) {
    Played p(python({"-m", "dtask._nursery"}));
    p.start(1);
    p.start(2).executor->kill();
    p.all[1].executor.reset();
    wait_for(p.loop, "the end of the other", [&] { return p.all[2].status.has_value(); });
    ck_text_eq(describe_status(*p.all[2].status), "signal 9 (Killed)");
    auto &third = p.start(3);
    wait_for(p.loop, "a third", [&] { return third.ready; });
    // Of the first nothing is left: all our children are the nursery and the third.
    wait_for(p.loop, "the first to be gone", [&] {
        auto self = std::to_string(::getpid());
        auto text = must(read_file("/proc/self/task/" + self + "/children"));
        return split(trim(text), ' ').size() == 2;
    });
}
END_TEST

START_TEST(test_one_that_is_stopped_is_killed) {
    Played p(python({"-m", "dtask._nursery"}), 100);
    auto &first = p.start(1);
    wait_for(p.loop, "an executor, however long the first takes", [&] { return first.ready; });
    ck_assert_int_eq(::kill(p.nursery->pid(), SIGSTOP), 0);
    auto &second = p.start(2);
    wait_for(p.loop, "its end", [&] { return second.status.has_value(); });
    ck_text_eq(describe_status(*second.status), "signal 9 (Killed)");
    ck_assert(!first.status);
    auto &third = p.start(3);
    wait_for(p.loop, "one of another nursery", [&] { return third.ready; });
}
END_TEST

Suite *suite() {
    auto s = suite_create("nursery");
    auto c = tcase_create("nursery");
    tcase_set_timeout(c, 120);
    for (auto test :
         {test_forks_executors, test_ends_before_they_are_born, test_unfit, test_threads_are_unfit,
          test_not_wanted_before_it_is_born, test_one_that_is_stopped_is_killed})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

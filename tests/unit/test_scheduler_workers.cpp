// SPDX-License-Identifier: Apache-2.0
//
// How workers leave the scheduler, event by event: lost, silent, unfit, and those that never come.
// Each test takes every message that it expects and ends by making sure that there was no other.
#include "tests/unit/stage.h"

using namespace dtask;
using namespace dtask::scheduler;
using dtask::proto::FailureKind;
using dtask::test::Stage;

namespace {

// Workers

START_TEST(test_worker_lost) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker();
    s.submit(client, 1, 3);
    s.dispatch();
    s.comm.take_runs();
    s.lost(worker);
    ck_assert_uint_eq(s.core.ready_count, 3);
    // Only the one that can have begun was a try.
    std::uint64_t tried = 0;
    s.core.tasks.each([&](TaskId, const Task &task) { tried += task.tries; });
    ck_assert_uint_eq(tried, 1);
    auto counts = s.comm.take_counts();
    ck_assert_uint_eq(counts.back().n, 0);
    auto next = s.worker();
    s.dispatch();
    auto runs = s.comm.take_runs(next);
    ck_assert_uint_eq(runs.size(), 2);
    for (auto &run : runs) ck_assert_uint_eq(run.instance.value, 2);
    ck_assert_uint_eq(s.comm.take_functions().size(), 2); // the new one is sent it too
    s.comm.take_counts();
    s.lost(worker); // it is gone already
    s.over();
}
END_TEST

START_TEST(test_worker_lost_counts_what_runs) {
    Stage s;
    auto client = s.client_with_function();
    s.submit(client, 1, 20);
    for (int n = 0; n < 2; n++) {
        auto worker = s.worker(3);
        s.dispatch();
        auto runs = s.comm.take_runs(worker);
        ck_assert_uint_eq(runs.size(), 6);
        s.lost(worker);
    }
    ck_assert(s.comm.take_failures().empty());
    std::map<std::uint64_t, std::uint64_t> tries;
    s.core.tasks.each([&](TaskId, const Task &task) { tries[task.tries]++; });
    ck_assert_uint_eq(tries[0] + tries[1] + tries[2], 20);
    ck_assert_uint_eq(tries[1] + 2 * tries[2], 6); // three for each worker
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

START_TEST(test_worker_lost_three_times) {
    Stage s;
    auto client = s.client_with_function();
    s.submit(client, 1, 1);
    for (int n = 0; n < 3; n++) {
        auto worker = s.worker();
        s.dispatch();
        ck_assert_uint_eq(s.comm.take_runs(worker).size(), 1);
        ck_assert(s.comm.take_failures().empty());
        s.lost(worker, "Connection reset by peer");
    }
    auto failure = s.comm.take_failures().at(0).failure;
    ck_assert(failure.kind == FailureKind::lost);
    ck_assert_uint_eq(failure.tries, 3);
    ck_text_eq(failure.message, "worker n2.2 on n2 was lost: Connection reset by peer");
    ck_text_eq(failure.worker, "n2.2");
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

START_TEST(test_silent_workers_are_lost) {
    Stage s;
    s.core.settings.silence_us = 60'000'000;
    auto client = s.client_with_function();
    auto silent = s.worker(), talking = s.worker();
    s.submit(client, 1, 2);
    s.dispatch();
    auto run = s.comm.take_runs(silent).at(0);
    auto other = s.comm.take_runs(talking).at(0);
    s.comm.take_counts();
    s.clock.advance(60'000'000);
    on_stat(s.reactor(), talking, {.memory = 123});
    on_tick(s.reactor());
    ck_assert(s.comm.take_dropped().empty()); // not yet
    s.clock.advance(1);
    on_tick(s.reactor());
    auto dropped = s.comm.take_dropped();
    ck_assert_uint_eq(dropped.size(), 1);
    ck_assert(dropped[0] == silent);
    ck_assert_uint_eq(s.comm.take_counts().back().n, 1);
    ck_assert_uint_eq(s.core.workers.at(talking).stat.memory, 123);
    s.dispatch();
    ck_assert(s.comm.take_runs().at(0).task == run.task); // it runs elsewhere
    auto tick = [&s] {
        for (int seconds = 0; seconds < 50; seconds++) {
            s.clock.advance(1'000'000);
            on_tick(s.reactor());
        }
    };
    tick();
    s.done(other); // a report is a sign of life too
    tick();
    ck_assert(s.comm.take_dropped().empty());
    s.comm.take_results();
    s.comm.take_functions();
    s.over();
}
END_TEST

// A suspended job stands still as a whole.
START_TEST(test_a_scheduler_that_was_stopped_blames_nobody) {
    Stage s;
    auto worker = s.worker();
    on_tick(s.reactor());
    s.clock.advance(3'600'000'000);
    on_tick(s.reactor());
    for (int seconds = 0; seconds < 60; seconds++) {
        ck_assert(s.comm.take_dropped().empty());
        s.clock.advance(1'000'000);
        on_tick(s.reactor());
    }
    ck_assert(s.comm.take_dropped().empty());
    s.clock.advance(1'000'000); // it does not speak all the same
    on_tick(s.reactor());
    ck_assert(s.comm.take_dropped().at(0) == worker);
    s.comm.take_counts();
    s.over();
}
END_TEST

// Out of reach, they say nothing any more, and may come back for a while.
START_TEST(test_workers_that_do_not_come_back) {
    Stage s;
    auto client = s.client_with_function();
    s.submit(client, 1, 1);
    s.clock.advance(1'000'000'000);
    s.dispatch(); // none has come yet: that is --dtask-timeout's to judge
    ck_assert(s.comm.take_failures().empty());
    s.lost(s.worker());
    s.clock.advance(s.core.settings.lonely_us);
    s.dispatch();
    ck_assert(s.comm.take_failures().empty());
    auto back = s.worker();
    s.clock.advance(1);
    s.dispatch();
    s.comm.take_runs();
    s.lost(back);
    s.clock.advance(s.core.settings.lonely_us + 1);
    s.dispatch();
    auto failure = s.comm.take_failures().at(0).failure;
    ck_assert(failure.kind == FailureKind::lost);
    ck_text_eq(failure.message, "no worker is left, and none has come for 120 s");
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

// Unfit

START_TEST(test_unfit_and_one_left) {
    Stage s; // two expected
    auto client = s.client_with_function();
    s.submit(client, 1, 1);
    on_unfit(s.reactor(), {"n1", "no interface ib0", 1});
    ck_assert_uint_eq(s.comm.take_counts().back().expected, 1);
    s.over(); // another may come
    s.worker();
    s.dispatch();
    s.done(s.comm.take_runs().at(0));
    s.comm.take_results();
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

START_TEST(test_unfit_and_none_left) {
    Stage s;
    auto client = s.client_with_function();
    s.submit(client, 1, 2);
    on_unfit(s.reactor(), {"n0", "no python", 0});
    on_unfit(s.reactor(), {"n0", "no python at all", 0}); // the same task once more
    s.comm.take_counts();
    s.dispatch();
    s.over();
    on_unfit(s.reactor(), {"n1", "no python either", 1});
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_counts().back().expected, 0);
    auto failures = s.comm.take_failures();
    ck_assert_uint_eq(failures.size(), 2);
    ck_assert(failures[0].failure.kind == FailureKind::lost);
    ck_contains(failures[0].failure.message, "no worker is left");
    ck_contains(failures[0].failure.message, "no python");
    // Nor does anybody wait who comes later.
    s.submit(client, 3, 1);
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_failures().size(), 1);
    s.over();
    ck_assert(s.core.tasks.empty());
}
END_TEST

START_TEST(test_the_last_worker_becomes_unfit) {
    Stage s;
    s.core.settings.expected = 1;
    auto client = s.client_with_function();
    auto worker = s.worker();
    s.submit(client, 1, 1);
    s.dispatch();
    s.comm.take_runs();
    s.lost(worker);
    s.dispatch();
    ck_assert(s.comm.take_failures().empty()); // it may come again
    on_unfit(s.reactor(), {"n0", "restarted 3 times already", 0});
    s.dispatch();
    ck_contains(s.comm.take_failures().at(0).failure.message, "restarted 3 times");
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

START_TEST(test_an_unfit_task_recovers) {
    Stage s;
    s.core.settings.expected = 1;
    on_unfit(s.reactor(), {"n0", "slow disk", 0});
    ck_assert_uint_eq(worker_count(s.core).expected, 0);
    s.worker(); // of task 0
    ck_assert_uint_eq(worker_count(s.core).expected, 1);
    auto client = s.client_with_function();
    s.submit(client, 1, 1);
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_runs().size(), 1);
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

Suite *suite() {
    auto s = suite_create("scheduler_workers");
    auto c = tcase_create("scheduler_workers");
    for (auto test :
         {test_worker_lost, test_worker_lost_counts_what_runs, test_worker_lost_three_times,
          test_silent_workers_are_lost, test_a_scheduler_that_was_stopped_blames_nobody,
          test_workers_that_do_not_come_back, test_unfit_and_one_left, test_unfit_and_none_left,
          test_the_last_worker_becomes_unfit, test_an_unfit_task_recovers})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

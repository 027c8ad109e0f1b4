// SPDX-License-Identifier: Apache-2.0
//
// The scheduler's reactor, event by event. Each test takes every message that
// it expects and ends by making sure that there was no other.
#include "tests/unit/stage.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "runtime/scheduler/placement.h"

using namespace dtask;
using namespace dtask::scheduler;
using dtask::proto::FailureKind;
using dtask::test::error_of;
using dtask::test::must;
using dtask::test::Stage;

namespace {

// Dispatch

START_TEST(test_one_task) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker();
    ck_assert_uint_eq(s.comm.take_counts().size(), 1);
    s.submit(client, 7, 1);
    s.comm.expect_nothing(); // until dispatch
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_functions().size(), 1);
    auto runs = s.comm.take_runs();
    ck_assert_uint_eq(runs.size(), 1);
    ck_assert(runs[0].worker == worker);
    ck_assert_uint_eq(runs[0].instance.value, 1);
    ck_text_eq(runs[0].args, "a7");
    s.done(runs[0], "seven");
    auto results = s.comm.take_results();
    ck_assert_uint_eq(results.size(), 1);
    ck_assert(results[0].client == client);
    ck_assert_uint_eq(results[0].key, 7);
    ck_text_eq(results[0].value, "seven");
    s.dispatch();
    s.over();
    ck_assert(s.core.tasks.empty());
    ck_assert_uint_eq(s.core.done, 1);
}
END_TEST

START_TEST(test_tasks_wait_for_a_worker) {
    Stage s;
    auto client = s.client_with_function();
    s.submit(client, 1, 3);
    s.dispatch();
    s.over();
    auto worker = s.worker();
    s.dispatch();
    // A function that was never measured: one to run, one in reserve.
    auto runs = s.comm.take_runs(worker);
    ck_assert_uint_eq(runs.size(), 2);
    ck_text_eq(runs[0].args, "a1"); // first come, first served
    ck_text_eq(runs[1].args, "a2");
    ck_assert_uint_eq(s.comm.take_functions().size(), 1);
    ck_assert_uint_eq(s.comm.take_counts().size(), 1);
    s.over();
}
END_TEST

// As many tasks as workers: one each, however much room the first one has.
START_TEST(test_few_tasks_are_spread) {
    Stage s;
    auto client = s.client_with_function();
    std::vector<WorkerId> workers;
    for (int n = 0; n < 8; n++) workers.push_back(s.worker());
    s.submit(client, 1, 8);
    s.dispatch();
    for (auto worker : workers) ck_assert_uint_eq(s.comm.take_runs(worker).size(), 1);
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

// Among many workers a function is tried by some of them first. Those of microseconds need
// no more; the others lose some milliseconds.
START_TEST(test_a_function_is_tried_by_few) {
    for (bool quick : {true, false}) {
        Stage s;
        auto client = s.client_with_function();
        for (int n = 0; n < 200; n++) s.worker();
        s.submit(client, 1, 400);
        ck_assert(s.dispatch());
        auto runs = s.comm.take_runs();
        ck_assert_uint_eq(runs.size(), 64);
        s.clock.advance(placement::trial_ms * 1000 - 1);
        ck_assert(s.dispatch());
        ck_assert(s.comm.take_runs().empty());
        if (quick) {
            s.done(runs[0], "", 1);
            ck_assert(!s.dispatch());
            ck_assert_uint_eq(s.comm.take_results().size(), 1);
            std::set<WorkerId> used;
            for (const auto &run : s.comm.take_runs()) used.insert(run.worker);
            ck_assert_uint_lt(used.size(), 10);
        } else {
            s.clock.advance(1);
            ck_assert(!s.dispatch());
            ck_assert_uint_eq(s.comm.take_runs().size(), 400 - 64);
        }
        s.comm.take_functions();
        s.comm.take_counts();
    }
}
END_TEST

// Of tiny tasks each worker has many at once, but no more than its share.
START_TEST(test_depth_follows_the_run_time) {
    Stage s;
    auto client = s.client_with_function();
    auto one = s.worker(), two = s.worker();
    s.submit(client, 1, 1'500);
    s.dispatch();
    auto first = s.comm.take_runs(one);
    ck_assert_uint_eq(first.size(), 2);
    ck_assert_uint_eq(s.comm.take_runs(two).size(), 2);
    s.done(first[0], "v", 10); // µs
    s.dispatch();
    ck_assert_uint_eq(s.core.workers.at(one).assigned.size(), 257);
    ck_assert_uint_eq(s.core.workers.at(two).assigned.size(), 257);
    ck_assert_uint_eq(s.comm.take_functions().size(), 2); // once to each, with its first task
    // An hour each: back to one in reserve, by and by.
    s.done(s.comm.take_runs(one), 3'600'000'000);
    s.dispatch();
    ck_assert_uint_eq(s.core.workers.at(one).assigned.size(), 2);
    s.comm.take_runs();
    s.comm.take_results();
    s.comm.take_counts();
    s.over();
}
END_TEST

START_TEST(test_concurrency_gives_more) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker(4);
    s.submit(client, 1, 100);
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_runs(worker).size(), 8);
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

// Tasks that wait for others leave their slots free, for these not least.
START_TEST(test_blocked_tasks_hold_no_slot) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker();
    s.submit(client, 1, 6);
    s.dispatch();
    auto first = s.comm.take_runs(worker);
    ck_assert_uint_eq(first.size(), 2);
    on_blocked(s.reactor(), worker, 1);
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_runs(worker).size(), 1);
    on_blocked(s.reactor(), worker, 3); // all that it has
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_runs(worker).size(), 2);
    auto told = info(s.core, s.clock);
    ck_assert_uint_eq(told.workers[0].running, 4);
    ck_assert_uint_eq(told.workers[0].queued, 1);
    on_blocked(s.reactor(), worker, 0); // more than it should have: it gets none
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_runs(worker).size(), 0);
    on_blocked(s.reactor(), worker, 1'000'000); // more than it has
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_runs(worker).size(), 1);
    // All of them may have begun: each has lost a try.
    on_worker_lost(s.reactor(), worker, "it fell");
    s.core.tasks.each([](TaskId, const Task &task) { ck_assert_uint_eq(task.tries, 1); });
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

START_TEST(test_priorities) {
    Stage s;
    auto client = s.client_with_function();
    s.submit(client, 1, 1, 1, 0, 0);
    s.submit(client, 2, 1, 1, 0, -5);
    s.submit(client, 3, 1, 1, 0, 7);
    s.submit(client, 4, 1, 1, 0, 7);
    auto worker = s.worker();
    std::string order;
    for (int n = 0; n < 4; n++) {
        s.dispatch();
        auto runs = s.comm.take_runs(worker);
        for (auto &run : runs) {
            order += run.args;
            s.done(run);
        }
        if (order.size() == 8) break;
    }
    ck_text_eq(order, "a3a4a1a2");
    s.comm.take_functions();
    s.comm.take_results();
    s.comm.take_counts();
    s.over();
}
END_TEST

// Clients are served in the order in which they came.
START_TEST(test_two_clients) {
    Stage s;
    auto one = s.client_with_function(), two = s.client_with_function();
    s.submit(one, 1, 1);
    s.submit(two, 1, 1); // the same numbers mean other tasks
    s.worker();
    s.dispatch();
    auto runs = s.comm.take_runs();
    ck_assert_uint_eq(runs.size(), 2);
    ck_assert(runs[0].function != runs[1].function);
    s.done(runs[1], "two");
    s.done(runs[0], "one");
    auto results = s.comm.take_results();
    ck_assert(results[0].client == two && results[1].client == one);
    ck_text_eq(results[1].value, "one");
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

// Instances

START_TEST(test_stale_reports_are_ignored) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker(), other = s.worker();
    s.comm.take_counts();
    s.submit(client, 1, 1);
    s.dispatch();
    s.comm.take_functions();
    auto first = s.comm.take_runs().at(0);
    s.failed(first, FailureKind::crashed);
    s.dispatch();
    s.comm.take_functions();
    auto second = s.comm.take_runs().at(0);
    ck_assert(second.task == first.task);
    ck_assert_uint_eq(second.instance.value, 2);
    // The report of the first dispatch, twice, late; and of a worker that has not got it.
    s.done(first.worker, first.task, first.instance, "old");
    s.failed(first, FailureKind::memory);
    s.done(second.worker == worker ? other : worker, second.task, second.instance, "not mine");
    s.done(second.worker, TaskId{99'999}, InstanceId{1}, "unknown");
    s.retracted(first.worker, {{first.worker, first.task, first.instance}});
    s.over();
    s.done(second, "new");
    ck_text_eq(s.comm.take_results().at(0).value, "new");
    s.done(second, "again"); // its outcome is told already
    s.over();
}
END_TEST

// Failures

START_TEST(test_raised) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    s.submit(client, 1, 1);
    s.dispatch();
    s.raised(s.comm.take_runs().at(0), "pickled error");
    auto failures = s.comm.take_failures();
    ck_assert_uint_eq(failures.size(), 1);
    auto &failure = failures[0].failure;
    ck_assert(failures[0].client == client);
    ck_assert(failure.kind == FailureKind::raised);
    ck_assert_uint_eq(failure.k, 1);
    ck_text_eq(failure.worker, "n0.0");
    ck_text_eq(failure.node, "n0");
    ck_text_eq(failure.payload, "pickled error");
    ck_assert_uint_eq(s.core.failed, 1);
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
    ck_assert(s.core.tasks.empty());
}
END_TEST

START_TEST(test_retries_of_raised_exceptions) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    s.submit(client, 1, 1, 1, 2);
    for (int n = 0; n < 2; n++) {
        s.dispatch();
        s.raised(s.comm.take_runs().at(0));
        ck_assert(s.comm.take_failures().empty());
    }
    s.dispatch();
    auto last = s.comm.take_runs().at(0);
    ck_assert_uint_eq(last.instance.value, 3);
    s.raised(last);
    ck_assert_uint_eq(s.comm.take_failures().size(), 1);
    s.submit(client, 2, 1, 1, 1); // one that comes good
    s.dispatch();
    s.raised(s.comm.take_runs().at(0));
    s.dispatch();
    s.done(s.comm.take_runs().at(0));
    ck_assert_uint_eq(s.comm.take_results().size(), 1);
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

START_TEST(test_crashes_are_tried_three_times) {
    Stage s;
    auto client = s.client();
    s.function(client, 1, "simulate");
    s.worker();
    s.submit(client, 5, 1, 1, 9); // retries are for exceptions
    for (int n = 0; n < 3; n++) {
        s.dispatch();
        ck_assert(s.comm.take_failures().empty());
        s.failed(s.comm.take_runs().at(0), FailureKind::crashed);
    }
    auto failures = s.comm.take_failures();
    ck_assert_uint_eq(failures.size(), 1);
    auto &failure = failures[0].failure;
    ck_assert(failure.kind == FailureKind::crashed);
    ck_assert_uint_eq(failure.k, 5);
    ck_assert_uint_eq(failure.tries, 3);
    ck_text_eq(failure.message, "simulate-5: it ended with signal 9 (Killed)");
    ck_text_eq(failure.worker, "n0.0");
    ck_text_eq(failure.node, "n0");
    s.dispatch();
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

// A task that was tried goes first, so that a bad one is known soon.
START_TEST(test_a_crashed_task_goes_first) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    s.submit(client, 1, 5);
    s.dispatch();
    auto runs = s.comm.take_runs();
    s.failed(runs[0], FailureKind::crashed);
    s.dispatch();
    ck_text_eq(s.comm.take_runs().at(0).args, "a1");
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

START_TEST(test_memory) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    s.submit(client, 1, 1);
    s.dispatch();
    auto run = s.comm.take_runs().at(0);
    proto::Failure failure;
    failure.k = run.task.value;
    failure.i = run.instance.value;
    failure.kind = FailureKind::memory;
    failure.message = "passed the limit";
    failure.limit = 1000;
    failure.peak = 1001;
    must(on_failed(s.reactor(), run.worker, failure));
    auto told = s.comm.take_failures().at(0).failure; // not tried again
    ck_assert(told.kind == FailureKind::memory);
    ck_assert_uint_eq(told.limit, 1000);
    ck_assert_uint_eq(told.peak, 1001);
    ck_text_eq(told.message, "f-1: passed the limit");
    ck_text_eq(told.node, "n0");

    s.submit(client, 2, 1, 1, 1); // but where the user asks for it
    s.dispatch();
    s.failed(s.comm.take_runs().at(0), FailureKind::memory);
    ck_assert(s.comm.take_failures().empty());
    s.dispatch();
    s.failed(s.comm.take_runs().at(0), FailureKind::memory);
    ck_assert_uint_eq(s.comm.take_failures().size(), 1);

    s.submit(client, 3, 1, 1, 5);
    s.dispatch();
    s.failed(s.comm.take_runs().at(0), FailureKind::too_large); // it would be so again
    ck_assert(s.comm.take_failures().at(0).failure.kind == FailureKind::too_large);
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

// Cancel

START_TEST(test_cancel_what_is_ready) {
    Stage s;
    auto client = s.client_with_function();
    s.submit(client, 1, 3);
    on_cancel(s.reactor(), client, {2, 2, 99});
    test::check_invariants(s.core);
    auto failures = s.comm.take_failures();
    ck_assert_uint_eq(failures.size(), 1);
    ck_assert(failures[0].failure.kind == FailureKind::cancelled);
    ck_assert_uint_eq(failures[0].failure.k, 2);
    ck_text_eq(failures[0].failure.message, "f-2 was cancelled");
    s.worker();
    s.dispatch();
    auto runs = s.comm.take_runs();
    ck_assert_uint_eq(runs.size(), 2);
    ck_text_eq(runs[0].args + runs[1].args, "a1a3");
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

START_TEST(test_cancel_what_is_assigned) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker();
    s.submit(client, 1, 3);
    s.dispatch();
    auto runs = s.comm.take_runs();
    on_cancel(s.reactor(), client, {1});
    auto kills = s.comm.take_kills();
    ck_assert_uint_eq(kills.size(), 1);
    ck_assert(kills[0].worker == worker && kills[0].task == runs[0].task &&
              kills[0].instance == runs[0].instance);
    ck_assert_uint_eq(s.comm.take_failures().size(), 1);
    s.done(runs[0], "too late"); // it crossed the kill
    s.dispatch();
    ck_text_eq(s.comm.take_runs().at(0).args, "a3"); // there is room again
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

START_TEST(test_cancel_what_is_done) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    s.submit(client, 1, 1);
    s.dispatch();
    s.done(s.comm.take_runs().at(0));
    ck_assert_uint_eq(s.comm.take_results().size(), 1);
    on_cancel(s.reactor(), client, {1});
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

START_TEST(test_cancel_what_is_asked_back) {
    Stage s;
    auto client = s.client_with_function();
    auto busy = s.worker();
    s.submit(client, 1, 2);
    s.dispatch();
    s.comm.take_runs(busy);
    s.worker();
    s.dispatch();
    auto retracts = s.comm.take_retracts();
    ck_assert_uint_eq(retracts.size(), 1);
    on_cancel(s.reactor(), client, {1, 2});
    test::check_invariants(s.core);
    ck_assert_uint_eq(s.comm.take_kills().size(), 2);
    ck_assert_uint_eq(s.comm.take_failures().size(), 2);
    s.retracted(busy, retracts); // it gave it back before it saw the kill
    s.dispatch();
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
    ck_assert(s.core.tasks.empty());
}
END_TEST

// Clients

START_TEST(test_client_lost) {
    Stage s;
    auto client = s.client_with_function(), other = s.client_with_function();
    auto worker = s.worker();
    s.submit(client, 1, 5);
    s.dispatch();
    auto runs = s.comm.take_runs();
    auto function = runs[0].function;
    s.submit(other, 1, 1);
    on_client_lost(s.reactor(), client);
    test::check_invariants(s.core);
    ck_assert_uint_eq(s.comm.take_kills().size(), 2); // what it was given
    auto forgets = s.comm.take_forgets();
    ck_assert_uint_eq(forgets.size(), 1);
    ck_assert(forgets[0].first == worker && forgets[0].second == function);
    s.done(runs[0], "nobody asks");
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_runs().size(), 1); // the other's
    on_client_lost(s.reactor(), client);             // it is gone already
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
    ck_assert_uint_eq(s.core.tasks.size(), 1);
    ck_assert_uint_eq(s.core.functions.size(), 1);
}
END_TEST

// A worker that never had the function is not told to forget it.
START_TEST(test_functions_are_forgotten_where_they_are) {
    Stage s;
    auto client = s.client();
    s.function(client, 1);
    s.function(client, 2, "unused");
    auto one = s.worker();
    s.worker();
    s.submit(client, 1, 1);
    s.dispatch();
    auto run = s.comm.take_runs().at(0);
    s.done(run);
    s.comm.take_results();
    on_client_lost(s.reactor(), client);
    auto forgets = s.comm.take_forgets();
    ck_assert_uint_eq(forgets.size(), 1);
    ck_assert(forgets[0].first == run.worker);
    (void)one;
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
    ck_assert(s.core.functions.empty());
}
END_TEST

START_TEST(test_what_closes_a_client) {
    Stage s;
    auto client = s.client_with_function();
    ck_contains(error_of(on_function(s.reactor(), client, {1, "g", "p"})),
                "function 1 was sent before");
    ck_contains(error_of(on_submit(s.reactor(), client, Stage::message(1, 1, 2))),
                "function 2 was never sent");
    s.submit(client, 5, 2);
    ck_contains(error_of(on_submit(s.reactor(), client, Stage::message(6, 1))),
                "task 6 was submitted before");
    auto twice = Stage::message(10, 2);
    twice.k[1] = 10;
    ck_contains(error_of(on_submit(s.reactor(), client, twice)), "task 10 was submitted before");
    auto wrong = Stage::message(20, 2);
    wrong.len[0]++;
    ck_contains(error_of(on_submit(s.reactor(), client, wrong)), "more than the payload");
    // What no frame to a worker, or no client, could carry.
    std::string huge((64 << 20) + 1, 'x');
    ck_text_eq(error_of(on_function(s.reactor(), client, {3, "g", huge})),
               "function 3 has more than 64M");
    proto::Submit too_large;
    too_large.f = 1;
    too_large.k = {30};
    too_large.len = {huge.size()};
    too_large.payload = huge;
    ck_text_eq(error_of(on_submit(s.reactor(), client, too_large)),
               "the arguments of task 30 have more than 64M");
    s.over();
}
END_TEST

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

// Retract

START_TEST(test_an_idle_worker_takes_from_a_busy_one) {
    Stage s;
    auto client = s.client_with_function();
    auto busy = s.worker();
    s.submit(client, 1, 500);
    s.dispatch();
    s.done(s.comm.take_runs().at(0), "v", 10);
    s.dispatch(); // 257 at one worker
    s.comm.take_runs();
    on_cancel(s.reactor(), client, [] {
        proto::Column keys(300);
        std::iota(keys.begin(), keys.end(), 201);
        return keys;
    }());
    ck_assert_uint_eq(s.core.ready_count, 0);
    s.comm.take_kills();
    s.comm.take_failures();
    s.comm.take_results();
    auto held = s.core.workers.at(busy).assigned.size();

    auto idle = s.worker();
    s.dispatch();
    auto retracts = s.comm.take_retracts();
    ck_assert_uint_eq(retracts.size(), (held - 1 + 1) / 2); // half of what has not begun
    for (auto &r : retracts) ck_assert(r.worker == busy);
    s.dispatch(); // one question at a time
    s.retracted(busy, retracts);
    s.dispatch();
    auto runs = s.comm.take_runs(idle);
    ck_assert_uint_ge(runs.size(), retracts.size() - 1);
    for (auto &run : runs) ck_assert_uint_eq(run.instance.value, 2);
    s.comm.take_runs();
    s.comm.take_functions();
    s.comm.take_counts();
    s.comm.take_retracts();
    s.over();
}
END_TEST

// What it has begun in the meantime it keeps, and says so: others may be asked.
START_TEST(test_a_worker_that_gives_nothing_back) {
    Stage s;
    auto client = s.client_with_function();
    auto busy = s.worker();
    s.submit(client, 1, 2);
    s.dispatch();
    auto runs = s.comm.take_runs(busy);
    s.worker();
    s.dispatch();
    auto retracts = s.comm.take_retracts();
    ck_assert_uint_eq(retracts.size(), 1);
    ck_assert(retracts[0].task == runs[1].task);
    s.done(runs[0]); // so the second has begun
    s.retracted(busy, {});
    ck_assert_uint_eq(s.core.answering, 0);
    s.dispatch();
    ck_assert(s.comm.take_retracts().empty()); // it has nothing to spare
    s.done(runs[1]);
    ck_assert_uint_eq(s.comm.take_results().size(), 2);
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

// One that was given back, and came home since the worker it went to was lost, may be asked
// for again.
START_TEST(test_what_was_given_back_is_given_again) {
    Stage s;
    auto client = s.client_with_function();
    auto busy = s.worker();
    s.submit(client, 1, 2);
    s.dispatch();
    s.comm.take_runs(busy);
    auto lost = s.worker();
    s.dispatch();
    s.retracted(busy, s.comm.take_retracts());
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_runs(lost).size(), 1);
    s.lost(lost);
    s.dispatch();
    auto home = s.comm.take_runs(busy);
    ck_assert_uint_eq(home.size(), 1);
    s.worker();
    s.dispatch();
    auto retracts = s.comm.take_retracts();
    ck_assert_uint_eq(retracts.size(), 1);
    ck_assert(retracts[0].task == home[0].task);
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

START_TEST(test_the_donor_is_lost) {
    Stage s;
    auto client = s.client_with_function();
    auto busy = s.worker();
    s.submit(client, 1, 2);
    s.dispatch();
    s.comm.take_runs(busy);
    auto idle = s.worker();
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_retracts().size(), 1);
    s.lost(busy);
    ck_assert_uint_eq(s.core.answering, 0);
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_runs(idle).size(), 2);
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

// A worker that could run more at a time is idle in part.
START_TEST(test_partly_idle_workers_take_too) {
    Stage s;
    auto client = s.client_with_function();
    auto full = s.worker(2);
    s.submit(client, 1, 4);
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_runs(full).size(), 4);
    auto half = s.worker(2);
    s.dispatch();
    auto retracts = s.comm.take_retracts();
    ck_assert_uint_eq(retracts.size(), 1);
    s.retracted(full, retracts);
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_runs(half).size(), 1);
    // It runs one of two: there is still one to be had.
    ck_assert_uint_eq(s.comm.take_retracts().size(), 1);
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

// Info

START_TEST(test_info) {
    Stage s;
    s.core.settings.id = "7.0";
    auto client = s.client_with_function();
    auto later = s.worker(2);
    auto worker = s.worker();
    (void)later;
    s.submit(client, 1, 9);
    s.dispatch();
    s.done(s.comm.take_runs(worker).at(0));
    s.clock.advance(3'999'999);
    auto told = info(s.core, s.clock);
    ck_text_eq(told.id, "7.0");
    ck_assert_uint_eq(told.uptime_s, 3);
    ck_assert_uint_eq(told.clients, 1);
    ck_assert_uint_eq(told.done, 1);
    ck_assert_uint_eq(told.running, 3);
    ck_assert_uint_eq(told.waiting, 5);
    ck_assert_uint_eq(told.workers.size(), 2);
    ck_assert_uint_eq(told.workers[0].about.task, 0); // in Slurm's order
    ck_assert_uint_eq(told.workers[0].running, 2);
    ck_assert_uint_eq(told.workers[0].queued, 2);
    ck_assert_uint_eq(told.workers[1].done, 1);
    s.comm.take_runs();
    s.comm.take_results();
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

START_TEST(test_reports_that_do_not_add_up) {
    Stage s;
    auto worker = s.worker();
    proto::Done done{{1}, {1}, {1}, {0}, {5}, "four"};
    ck_contains(error_of(on_done(s.reactor(), worker, done)), "more than the payload");
    s.comm.take_counts();
    s.over();
}
END_TEST

Suite *suite() {
    auto s = suite_create("scheduler");
    auto c = tcase_create("reactor");
    for (auto test : {test_one_task,
                      test_tasks_wait_for_a_worker,
                      test_few_tasks_are_spread,
                      test_a_function_is_tried_by_few,
                      test_depth_follows_the_run_time,
                      test_concurrency_gives_more,
                      test_blocked_tasks_hold_no_slot,
                      test_priorities,
                      test_two_clients,
                      test_stale_reports_are_ignored,
                      test_raised,
                      test_retries_of_raised_exceptions,
                      test_crashes_are_tried_three_times,
                      test_a_crashed_task_goes_first,
                      test_memory,
                      test_cancel_what_is_ready,
                      test_cancel_what_is_assigned,
                      test_cancel_what_is_done,
                      test_cancel_what_is_asked_back,
                      test_client_lost,
                      test_functions_are_forgotten_where_they_are,
                      test_what_closes_a_client,
                      test_worker_lost,
                      test_worker_lost_counts_what_runs,
                      test_worker_lost_three_times,
                      test_silent_workers_are_lost,
                      test_an_idle_worker_takes_from_a_busy_one,
                      test_what_was_given_back_is_given_again,
                      test_a_worker_that_gives_nothing_back,
                      test_the_donor_is_lost,
                      test_partly_idle_workers_take_too,
                      test_a_scheduler_that_was_stopped_blames_nobody,
                      test_workers_that_do_not_come_back,
                      test_unfit_and_one_left,
                      test_unfit_and_none_left,
                      test_the_last_worker_becomes_unfit,
                      test_an_unfit_task_recovers,
                      test_info,
                      test_reports_that_do_not_add_up})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

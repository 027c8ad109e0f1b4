// SPDX-License-Identifier: Apache-2.0
//
// The scheduler's reactor, event by event: which worker gets which task, and gives it back. Each
// test takes every message that it expects and ends by making sure that there was no other.
#include "tests/unit/stage.h"

#include <numeric>

using namespace dtask;
using namespace dtask::scheduler;
using dtask::proto::FailureKind;
using dtask::test::error_of;
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
    for (auto test :
         {test_one_task, test_tasks_wait_for_a_worker, test_concurrency_gives_more,
          test_blocked_tasks_hold_no_slot, test_priorities, test_two_clients,
          test_stale_reports_are_ignored, test_an_idle_worker_takes_from_a_busy_one,
          test_what_was_given_back_is_given_again, test_a_worker_that_gives_nothing_back,
          test_the_donor_is_lost, test_partly_idle_workers_take_too, test_info,
          test_reports_that_do_not_add_up})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
//
// How tasks end, event by event: they raise, crash, take too much memory, are cancelled, or lose
// their client. Each test takes every message that it expects and ends by making sure that there
// was no other.
#include "tests/unit/stage.h"

using namespace dtask;
using namespace dtask::scheduler;
using dtask::proto::FailureKind;
using dtask::test::error_of;
using dtask::test::must;
using dtask::test::Stage;

namespace {

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

START_TEST(test_what_a_command_writes_goes_to_who_waits) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker();
    s.submit(client, 7, 1);
    s.dispatch();
    auto run = s.one_run();
    auto write = [&](std::uint64_t instance) {
        on_output(s.reactor(), worker, {run.task.value, instance, "one\n", "two\n"});
    };
    write(run.instance.value);
    auto outputs = s.comm.take_outputs();
    ck_assert_uint_eq(outputs.size(), 1);
    ck_assert(outputs[0].client == client);
    ck_assert_uint_eq(outputs[0].output.k, 7);
    ck_text_eq(outputs[0].output.output, "one\n");
    ck_text_eq(outputs[0].output.errors, "two\n");
    write(run.instance.value + 1); // of no execution of it
    on_cancel(s.reactor(), client, {7});
    s.comm.take_failures();
    write(run.instance.value);
    s.comm.take_kills();
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

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

Suite *suite() {
    auto s = suite_create("scheduler_tasks");
    auto c = tcase_create("scheduler_tasks");
    for (auto test :
         {test_raised, test_retries_of_raised_exceptions, test_crashes_are_tried_three_times,
          test_a_crashed_task_goes_first, test_memory, test_cancel_what_is_ready,
          test_cancel_what_is_assigned, test_cancel_what_is_done, test_cancel_what_is_asked_back,
          test_what_a_command_writes_goes_to_who_waits, test_client_lost,
          test_functions_are_forgotten_where_they_are, test_what_closes_a_client})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

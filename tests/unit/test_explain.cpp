// SPDX-License-Identifier: Apache-2.0
//
// What is said of one task (explain.h), and names of tasks. Each state of core.h has its words.
#include "runtime/scheduler/explain.h"

#include "lib/model/command.h"
#include "tests/unit/stage.h"

using namespace dtask;
using namespace dtask::scheduler;
using dtask::model::parse_task_name;
using dtask::proto::FailureKind;
using dtask::test::check_invariants;
using dtask::test::error_of;
using dtask::test::Graph;
using dtask::test::must;
using dtask::test::Stage;

namespace {

void over(Stage &s) {
    check_invariants(s.core);
    s.comm.take_runs();
    s.comm.take_results();
    s.comm.take_failures();
    s.comm.take_functions();
    s.comm.take_counts();
    s.comm.take_fetches();
    s.comm.take_kills();
    s.comm.take_forgets();
    s.over();
}

std::vector<proto::Explanation> all_of(Stage &s, const std::string &name) {
    return explain(s.core, s.clock, must(parse_task_name(name)));
}

proto::Explanation told(Stage &s, const std::string &name) {
    auto all = all_of(s, name);
    ck_assert_msg(all.size() == 1, "%zu tasks are called %s", all.size(), name.c_str());
    return all[0];
}

void submit_with(Stage &s, ClientId client, std::uint64_t key, proto::Needs needs) {
    auto message = Stage::message(key, 1);
    message.needs = std::move(needs);
    must(on_submit(s.reactor(), client, message));
}

START_TEST(test_names) {
    auto name = must(parse_task_name("solve-17"));
    ck_text_eq(name.function, "solve");
    ck_assert_uint_eq(name.key, 17);
    ck_assert(!name.client);
    name = must(parse_task_name("17"));
    ck_assert(name.function.empty() && name.key == 17);
    name = must(parse_task_name("5:a-b:c-3"));
    ck_assert(name.client == 5u && name.function == "a-b:c" && name.key == 3);
    name = must(parse_task_name("C:x-3")); // no client's number
    ck_assert(!name.client && name.function == "C:x");
    for (auto wrong :
         {"", "solve", "solve-", "-3", "5:", "solve-3x", "-", "5:-3", "solve-99999999999999999999"})
        ck_contains(error_of(parse_task_name(wrong)), "accepted: FUNCTION-NUMBER or NUMBER");
}
END_TEST

START_TEST(test_no_worker_yet) {
    Stage s;
    auto client = s.client_with_function();
    s.submit(client, 1, 1);
    auto is = told(s, "f-1");
    ck_text_eq(is.state, "ready");
    ck_text_eq(is.why, "no worker has come yet, 2 workers expected");
    ck_assert_uint_eq(is.task.client, client.value);
    on_unfit(s.reactor(), {"n1", "no interface ib0", 1});
    ck_text_eq(told(s, "1").why, "no worker has come yet, 1 worker expected; task 1 on n1 cannot "
                                 "serve: no interface ib0");
    auto worker = s.worker();
    s.lost(worker, "it was killed");
    ck_contains(told(s, "1").why, "no worker is left");
    over(s);
}
END_TEST

START_TEST(test_queued_and_running) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker();
    s.submit(client, 1, 5);
    s.submit(client, 6, 1, 1, 0, 1); // before all others
    s.dispatch();
    auto runs = s.comm.take_runs(worker);
    ck_assert_uint_eq(runs.size(), 2);
    auto is = told(s, "6");
    ck_text_eq(is.state, "running");
    ck_text_eq(is.why, "running on worker n0.0, just begun");
    ck_text_eq(is.worker, "n0.0");
    ck_text_eq(is.address, "w0");
    ck_assert_uint_eq(is.id, runs[0].task.value);
    proto::Stat stat;
    stat.k = {runs[0].task.value};
    stat.i = {runs[0].instance.value};
    stat.us = {12'300'000};
    on_stat(s.reactor(), worker, stat);
    ck_text_eq(told(s, "6").why, "running on worker n0.0 for 12 s");
    ck_assert_uint_eq(told(s, "6").task.ms, 12'300);
    is = told(s, "f-1");
    ck_text_eq(is.state, "queued");
    ck_text_eq(is.why, "queued behind 1 task on worker n0.0");
    ck_text_eq(told(s, "f-2").why,
               "queued at the scheduler: it is the next one, and 1 worker has as "
               "much as it takes; 1 of 2 workers have come");
    ck_contains(told(s, "f-5").why, "3 tasks are before it");
    s.submit(client, 7, 1, 1, 0, -1);
    ck_contains(told(s, "f-7").why, "4 tasks are before it");
    over(s);
}
END_TEST

START_TEST(test_inputs_that_are_missing) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker();
    Graph graph;
    proto::Column leaves;
    for (std::uint64_t key = 1; key <= 9; key++) {
        graph.task(key);
        leaves.push_back(key);
    }
    leaves.push_back(1); // twice the same
    must(on_graph(s.reactor(), client, graph.task(10, leaves, true).complete().message));
    s.dispatch();
    auto is = told(s, "f-10");
    ck_text_eq(is.state, "waiting");
    ck_assert_uint_eq(info(s.core, s.clock).waiting, 9); // and one runs
    ck_text_eq(is.why, "waits for 9 of its 9 inputs: f-1 (running on n0.0), f-2 (queued), f-3 "
                       "(ready), f-4 (ready), f-5 (ready) and 4 more");
    s.done(s.comm.take_runs(worker).at(0));
    ck_contains(told(s, "f-10").why, "waits for 8 of its 9 inputs: f-2");
    ck_contains(told(s, "f-1").why, "has ended well; its value is kept for the tasks that need it");
    ck_text_eq(told(s, "f-1").state, "done");
    over(s);
}
END_TEST

START_TEST(test_values_that_travel) {
    Stage s;
    auto client = s.client_with_function();
    auto first = s.worker(), second = s.worker();
    must(on_graph(s.reactor(), client,
                  Graph().task(1, {}, true).task(2, {}, true).complete().message));
    s.dispatch();
    for (auto worker : {first, second}) s.stored(s.comm.take_runs(worker).at(0), 80 << 20);
    s.comm.take_stored();
    ck_contains(told(s, "f-1").why, "has ended well; its value, 80M, is at w");
    must(on_graph(s.reactor(), client, Graph(2).task(3, {1, 2}, true).complete().message));
    s.dispatch();
    auto is = told(s, "f-3");
    ck_text_eq(is.state, "gathering");
    ck_contains(is.why, "copies 1 input of it from other nodes");
    s.comm.take_fetches();
    on_client_lost(s.reactor(), client);
    s.comm.take_frees();
    over(s);
}
END_TEST

START_TEST(test_what_a_task_needs) {
    Stage s;
    auto client = s.client_with_function();
    s.worker(1); // gpu=0
    submit_with(s, client, 1, {{}, {{"gpu", 2}}});
    ck_text_eq(told(s, "1").why,
               "needs 2 of gpu, and no worker has more than 0; 1 of 2 workers have "
               "come; of its kind it is the next one");
    submit_with(s, client, 2, {{"n7"}, {}});
    ck_contains(told(s, "2").why, "needs to be on n7, and no worker there has come");
    s.worker(1), s.worker(1); // gpu=1, gpu=2
    s.dispatch();
    submit_with(s, client, 3, {{}, {{"gpu", 2}}});
    ck_text_eq(told(s, "1").state, "running");
    ck_text_eq(told(s, "3").why, "needs 2 of gpu, and worker n2.2, which alone has so much, has 0 "
                                 "free; of its kind it is the next one");
    submit_with(s, client, 4, {{"n0"}, {}});
    submit_with(s, client, 5, {{"n0"}, {}});
    submit_with(s, client, 6, {{"n0"}, {}});
    s.dispatch();
    ck_text_eq(told(s, "6").why, "waits for room on worker n0.0, the only one that it may run on; "
                                 "of its kind it is the next one");
    over(s);
}
END_TEST

START_TEST(test_tries_and_failures) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker();
    s.submit(client, 1, 2);
    s.dispatch();
    auto fail_once = [&](FailureKind kind, const char *message) {
        auto run = s.comm.take_runs(worker).at(0);
        proto::Failure failure;
        failure.k = run.task.value;
        failure.i = run.instance.value;
        failure.kind = kind;
        failure.message = message;
        must(on_failed(s.reactor(), worker, failure));
    };
    fail_once(FailureKind::crashed, "killed by signal 11");
    s.clock.advance(1'500'000);
    ck_contains(
        told(s, "f-1").why,
        "; tried before 1 time, the last time 1.5 s ago on worker n0.0: killed by signal 11");
    s.dispatch();
    s.done(s.comm.take_runs(worker).at(0));
    auto why = told(s, "f-1").why;
    ck_contains(why, "has ended: well");
    ck_contains(why, "; tried before 1 time, the last time 1.5 s ago on worker n0.0: killed by");
    over(s);
}
END_TEST

START_TEST(test_tasks_that_have_ended) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker();
    s.submit(client, 1, 2);
    s.dispatch();
    auto runs = s.comm.take_runs(worker);
    s.done(runs.at(0));
    auto is = told(s, "f-1");
    ck_text_eq(is.state, "ended");
    ck_contains(is.why, "nothing is kept of a task that has ended well");
    ck_text_eq(told(s, "1").task.name, "task-1");
    proto::Failure failure;
    failure.k = runs.at(1).task.value;
    failure.i = runs.at(1).instance.value;
    failure.kind = FailureKind::too_large;
    failure.message = "its value is too large";
    must(on_failed(s.reactor(), worker, failure));
    s.clock.advance(90'000'000);
    is = told(s, "f-2");
    ck_text_eq(is.state, "failed");
    ck_text_eq(is.why, "failed 90 s ago on worker n0.0: its value is too large");
    ck_assert(all_of(s, "f-3").empty());
    ck_assert(all_of(s, "g-1").empty());
    ck_assert(all_of(s, "0").empty());
    ck_assert(all_of(s, std::to_string(client.value + 1) + ":f-1").empty());
    ck_text_eq(told(s, std::to_string(client.value) + ":f-1").state, "ended");
    // Its client goes, and the failure is still known.
    on_client_lost(s.reactor(), client);
    ck_text_eq(told(s, "f-2").state, "failed");
    ck_assert(all_of(s, "f-1").empty());
    // No history says more than it knows.
    auto other = s.client_with_function();
    s.submit(other, 1, 1);
    on_cancel(s.reactor(), other, {1});
    s.comm.take_failures();
    for (std::size_t n = 0; n <= History::most_failures; n++) s.core.history.add({});
    ck_contains(told(s, "f-1").why, "some are not kept any more");
    over(s);
}
END_TEST

START_TEST(test_names_of_several_clients) {
    Stage s;
    auto one = s.client_with_function(), two = s.client_with_function();
    s.submit(one, 1, 2);
    s.submit(two, 2, 1);
    auto all = all_of(s, "f-2");
    ck_assert_uint_eq(all.size(), 2);
    ck_assert_uint_eq(all[0].task.client, one.value);
    ck_assert_uint_eq(all[1].task.client, two.value);
    auto done = withdraw(s.reactor(), {"f-2", "f-1", "f-9", "?"});
    ck_assert_uint_eq(done.count, 1);
    ck_assert((done.unknown == std::vector<std::string>{"f-9", "?"}));
    ck_assert((done.ambiguous == std::vector<std::string>{std::to_string(one.value) + ":f-2",
                                                          std::to_string(two.value) + ":f-2"}));
    check_invariants(s.core);
    auto failures = s.comm.take_failures();
    ck_assert_uint_eq(failures.size(), 1);
    ck_assert(failures[0].client == one && failures[0].failure.kind == FailureKind::cancelled);
    ck_text_eq(failures[0].failure.message, "f-1 was cancelled by dtask cancel");
    ck_assert_uint_eq(withdraw(s.reactor(), {std::to_string(two.value) + ":f-2"}).count, 1);
    ck_assert(s.comm.take_failures().at(0).client == two);
    ck_text_eq(told(s, "f-2").state, "ready"); // the other one's
    over(s);
}
END_TEST

START_TEST(test_withdrawing) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker();
    s.submit(client, 1, 1);
    must(on_graph(s.reactor(), client, Graph().task(2).task(3, {2}, true).complete().message));
    s.dispatch();
    auto run = s.comm.take_runs(worker).at(0);
    auto done = withdraw(s.reactor(), {"f-2"});
    ck_assert_uint_eq(done.count, 0);
    ck_assert((done.needed == std::vector<std::string>{"f-2"}));
    check_invariants(s.core);
    done = withdraw_all(s.reactor());
    ck_assert_uint_eq(done.count, 2);
    ck_assert(s.core.tasks.empty());
    ck_assert_uint_eq(s.comm.take_failures().size(), 2);
    ck_assert_uint_eq(s.comm.take_kills().size(), 2); // the one that ran, and the input
    ck_assert(run.task.value > 0);
    ck_assert_uint_eq(withdraw_all(s.reactor()).count, 0);
    over(s);
}
END_TEST

START_TEST(test_the_place_in_a_queue) {
    TaskSet set;
    std::uint64_t count = 0;
    for (std::uint64_t n : {3, 63, 64, 65, 127, 511, 512, 513, 5000}) {
        ck_assert_uint_eq(set.count_before({n}), count);
        set.insert({n});
        count++;
    }
    ck_assert_uint_eq(set.count_before({3}), 0);
    ck_assert_uint_eq(set.count_before({4}), 1);
    ck_assert_uint_eq(set.count_before({64}), 2);
    ck_assert_uint_eq(set.count_before({100}), 4);
    ck_assert_uint_eq(set.count_before({1'000'000}), 9);
    ck_assert_uint_eq(set.count(), 9);
}
END_TEST

Suite *suite() {
    auto s = suite_create("explain");
    auto t = tcase_create("explain");
    for (auto test : {test_names, test_no_worker_yet, test_queued_and_running,
                      test_inputs_that_are_missing, test_values_that_travel, test_what_a_task_needs,
                      test_tries_and_failures, test_tasks_that_have_ended,
                      test_names_of_several_clients, test_withdrawing, test_the_place_in_a_queue})
        tcase_add_test(t, test);
    suite_add_tcase(s, t);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
//
// Large values that are lost: made again, told again, or missing for good. After every event all
// invariants of core.h are checked (stage.h).
#include "tests/unit/stage.h"

#include "tests/unit/data.h"

using namespace dtask;
using namespace dtask::scheduler;
using dtask::proto::FailureKind;
using dtask::test::check_invariants;
using dtask::test::Graph;
using dtask::test::over;
using dtask::test::path;
using dtask::test::Stage;

namespace {

// A client that was told of the value of call `key`: its worker is lost, and another has come.
ClientId client_of_a_lost_value(Stage &s, std::uint64_t key) {
    auto client = s.client_with_function();
    auto worker = s.worker();
    s.submit(client, key, 1);
    s.stored(s.next_run());
    s.lost(worker);
    s.worker();
    return client;
}

// A task has one input on its node, by another worker, and waits for the second. When that worker
// is lost it is not sent what has gone.
START_TEST(test_a_copy_is_lost_while_another_comes) {
    Stage s;
    auto client = s.client_with_function();
    auto maker = s.worker(1, "a");
    s.worker(1, "b");
    auto only_on = [](Graph graph, const char *worker) {
        graph.message.needs.workers = {worker};
        return graph;
    };
    s.send(client, only_on(Graph().task(1, {}, true), "a.0"));
    s.send(client, only_on(Graph().task(2, {}, true), "b.1"));
    s.dispatch();
    for (const auto &run : s.comm.take_runs()) s.stored(run);
    s.comm.take_stored();
    // The first is on both nodes.
    s.send(client, only_on(Graph().task(3, {1}, true), "b.1"));
    s.dispatch();
    s.fetched(s.comm.take_fetches().at(0));
    s.done(s.one_run());

    auto reader = s.worker(1, "a");
    s.send(client, only_on(Graph().task(4, {1, 2}, true).complete(), "a.2"));
    s.dispatch();
    auto second = s.comm.take_fetches();
    ck_assert_uint_eq(second.size(), 1);
    on_worker_lost(s.reactor(), maker, "gone");
    check_invariants(s.core);
    s.fetched(second[0]);
    s.dispatch();
    auto first = s.comm.take_fetches();
    ck_assert_uint_eq(first.size(), 1);
    ck_assert(first[0].worker == reader);
    s.fetched(first[0]);
    auto run = s.one_run();
    ck_assert((run.inputs ==
               std::vector<std::string>{path(first[0].data, "/s2"), path(second[0].data, "/s2")}));
    s.done(run);
    on_release(s.reactor(), client, {1, 2});
    check_invariants(s.core);
    s.comm.take_frees();
    s.comm.take_results();
    over(s);
}
END_TEST

// The worker that made it is lost: it is made again, from inputs that are made again.
START_TEST(test_lineage) {
    Stage s;
    auto client = s.client_with_function();
    auto first = s.worker();
    s.send(client, Graph().task(1).task(2, {1}).task(3, {2}, true).complete());
    s.stored(s.next_run());
    s.stored(s.next_run());
    ck_assert_uint_eq(s.comm.take_frees().size(), 1); // 1, but its record stays
    auto third = s.next_run();
    ck_text_eq(third.args, "a3");
    s.lost(first);
    s.worker();
    auto again = s.next_run();
    ck_text_eq(again.args, "a1");
    s.stored(again);
    again = s.next_run();
    ck_text_eq(again.args, "a2");
    s.stored(again);
    again = s.next_run();
    ck_text_eq(again.args, "a3");
    s.done(again, "three");
    ck_text_eq(s.comm.take_results().at(0).value, "three");
    s.comm.take_frees();
    over(s);
}
END_TEST

// What was kept by the client is told again.
START_TEST(test_a_kept_value_is_lost) {
    Stage s;
    auto client = client_of_a_lost_value(s, 7);
    s.comm.take_stored();
    on_lost_value(s.reactor(), client, {7, "w0"}); // it is known
    check_invariants(s.core);
    s.stored(s.next_run());
    auto stored = s.comm.take_stored();
    ck_assert_uint_eq(stored.size(), 1);
    ck_text_eq(stored[0].at, "w1");
    on_release(s.reactor(), client, {7});
    s.comm.take_frees();
    over(s);
}
END_TEST

START_TEST(test_a_client_cannot_have_it) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    s.submit(client, 7, 1);
    s.stored(s.next_run());
    for (int tries = 1; tries < 3; tries++) {
        s.comm.take_stored();
        on_lost_value(s.reactor(), client, {7, "w0"});
        check_invariants(s.core);
        ck_assert_uint_eq(s.comm.take_frees().size(), 1);
        s.stored(s.next_run());
    }
    on_lost_value(s.reactor(), client, {7, "elsewhere"}); // it was told a better place since
    check_invariants(s.core);
    ck_assert_uint_eq(s.comm.take_stored().size(), 2);
    on_lost_value(s.reactor(), client, {7, "w0"});
    check_invariants(s.core);
    auto failures = s.comm.take_failures();
    ck_assert_uint_eq(failures.size(), 1);
    ck_assert(failures[0].failure.kind == FailureKind::lost);
    ck_contains(failures[0].failure.message, "its client could not fetch it from w0");
    s.comm.take_frees();
    over(s);
}
END_TEST

START_TEST(test_an_input_that_is_missing) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    s.send(client, Graph().task(1).task(2, {1}, true).complete());
    s.stored(s.next_run());
    for (int tries = 3; tries > 0; tries--)
        s.failed(s.next_run(), FailureKind::missing, "no such file");
    auto failures = s.comm.take_failures();
    ck_assert_uint_eq(failures.size(), 1);
    ck_assert(failures[0].failure.kind == FailureKind::lost);
    ck_contains(failures[0].failure.message, "no such file");
    s.comm.take_frees();
    over(s);
}
END_TEST

// It was told where the value is, and names it before it hears that it is gone.
START_TEST(test_a_promised_value_that_fails) {
    Stage s;
    auto client = client_of_a_lost_value(s, 1);
    s.raised(s.next_run(), "broken");
    ck_assert_uint_eq(s.comm.take_failures().size(), 1);
    s.send(client, Graph().task(2, {1}, true).task(3, {2}, true).complete());
    auto failures = s.comm.take_failures();
    ck_assert_uint_eq(failures.size(), 2);
    ck_text_eq(failures[0].failure.payload, "broken");
    on_release(s.reactor(), client, {1});
    ck_assert(s.core.clients.at(client).broken_promises.empty());
    s.comm.take_stored();
    over(s);
}
END_TEST

// A value is lost with its inputs, one of which has failed meanwhile: nobody needs the other any
// more.
START_TEST(test_a_lost_value_that_cannot_be_made_again) {
    Stage s;
    auto client = s.client_with_function();
    auto first = s.worker(1, "a");
    s.send(client, Graph().task(2));
    s.stored(s.next_run());
    auto second = s.worker(1, "a");
    s.submit(client, 50, 1); // keeps the first one busy
    auto busy = s.next_run();
    ck_assert(busy.worker == first);
    s.send(client, Graph().task(1));
    auto run = s.next_run();
    ck_assert(run.worker == second);
    s.stored(run);
    s.done(busy);
    s.send(client, Graph().task(3, {1, 2}, true));
    run = s.next_run();
    ck_assert(run.worker == first);
    s.stored(run);
    ck_assert_uint_eq(s.comm.take_stored().size(), 1);
    s.lost(second);
    s.send(client, Graph().task(4, {1}, true).complete());
    s.raised(s.next_run()); // what task 1 was, again
    ck_assert_uint_eq(s.comm.take_failures().size(), 1);
    s.lost(first);
    ck_assert_uint_eq(s.comm.take_failures().size(), 1);
    s.comm.take_results();
    s.comm.take_frees();
    on_release(s.reactor(), client, {3});
    over(s);
}
END_TEST

// It is made again, and small this time: told as a result, and kept all the same.
START_TEST(test_a_promised_value_becomes_small) {
    Stage s;
    auto client = client_of_a_lost_value(s, 1);
    s.done(s.next_run(), "small");
    auto results = s.comm.take_results();
    ck_assert_uint_eq(results.size(), 1);
    ck_text_eq(results[0].value, "small");
    on_lost_value(s.reactor(), client, {1, "w0"}); // was on its way
    s.send(client, Graph().task(2, {1}, true).complete());
    auto run = s.next_run();
    ck_text_eq(run.inputs.at(0), "small");
    s.done(run);
    on_release(s.reactor(), client, {1});
    s.comm.take_results();
    ck_assert_uint_eq(s.comm.take_stored().size(), 1);
    over(s);
}
END_TEST

// A task that waits for its inputs has not begun: its workers may go as they like.
START_TEST(test_workers_are_lost_before_its_inputs_come) {
    Stage s;
    auto client = s.client_with_function();
    s.worker(1, "a");
    s.submit(client, 1, 1);
    s.stored(s.next_run());
    Graph graph;
    graph.message.needs.workers = {"b"};
    s.worker(1, "b"); // copies it for all, and has room for two
    s.send(client, graph.task(2, {1}, true).task(3, {1}, true).task(4, {1}, true).complete());
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_fetches().size(), 1);
    for (int n = 0; n < 5; n++) {
        auto worker = s.worker(1, "b");
        s.dispatch();
        ck_assert_uint_eq(s.core.workers.at(worker).assigned.size(), 1);
        s.lost(worker);
    }
    ck_assert(s.comm.take_failures().empty());
    on_client_lost(s.reactor(), client);
    s.comm.take_stored();
    s.comm.take_frees();
    s.comm.take_forgets();
    over(s);
}
END_TEST

Suite *suite() {
    auto s = suite_create("data_lost");
    auto t = tcase_create("data_lost");
    tcase_set_timeout(t, 60);
    for (auto test :
         {test_a_copy_is_lost_while_another_comes, test_lineage, test_a_kept_value_is_lost,
          test_a_client_cannot_have_it, test_an_input_that_is_missing,
          test_a_promised_value_that_fails, test_a_lost_value_that_cannot_be_made_again,
          test_a_promised_value_becomes_small, test_workers_are_lost_before_its_inputs_come})
        tcase_add_test(t, test);
    suite_add_tcase(s, t);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
//
// Graphs in the scheduler: tasks that need each other's values. After every
// event all invariants of core.h are checked (stage.h).
#include "tests/unit/stage.h"

#include <algorithm>

using namespace dtask;
using namespace dtask::scheduler;
using dtask::fakes::RecordingComm;
using dtask::test::check_invariants;
using dtask::test::error_of;
using dtask::test::Graph;
using dtask::test::must;
using dtask::test::Stage;

namespace {

void forget_news(Stage &s) {
    s.comm.take_functions();
    s.comm.take_counts();
}

START_TEST(test_values_go_to_those_that_need_them) {
    Stage s;
    auto client = s.client_with_function();
    s.worker(4);
    s.send(client, Graph().task(1).task(2).task(3, {2, 1, 2}, true).complete());
    s.dispatch();
    auto runs = s.comm.take_runs();
    ck_assert_uint_eq(runs.size(), 2);
    s.done(runs[0], "one");
    s.dispatch();
    ck_assert(s.comm.take_runs().empty()); // the other is missing
    s.done(runs[1], "two");
    s.dispatch();
    auto last = s.one_run();
    ck_text_eq(last.args, "a3");
    ck_assert(last.inputs == (std::vector<std::string>{"two", "one", "two"}));
    ck_assert_uint_eq(s.core.tasks.size(), 3); // it may have to run again
    s.done(last, "three");
    auto results = s.comm.take_results();
    ck_assert_uint_eq(results.size(), 1);
    ck_assert_uint_eq(results[0].key, 3);
    ck_text_eq(results[0].value, "three");
    ck_assert(s.core.tasks.empty());
    forget_news(s);
    s.over();
}
END_TEST

// What was submitted first, and can run, runs first: a tree is walked depth
// first, so that few values are alive at a time.
START_TEST(test_the_order_is_the_clients) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    s.send(client, Graph()
                       .task(1)
                       .task(2)
                       .task(3, {1, 2})
                       .task(4)
                       .task(5)
                       .task(6, {4, 5})
                       .task(7, {3, 6}, true)
                       .complete());
    std::vector<std::string> order;
    for (int left = 7; left > 0;) {
        s.dispatch();
        for (const auto &run : s.comm.take_runs()) {
            order.push_back(run.args);
            s.done(run, "v", 60'000'000); // long ones: one in reserve
            left--;
        }
    }
    // The reserve of one was taken before a3 could run.
    ck_assert(order == (std::vector<std::string>{"a1", "a2", "a3", "a4", "a5", "a6", "a7"}));
    s.comm.take_results();
    forget_news(s);
    s.over();
}
END_TEST

START_TEST(test_a_failure_reaches_all_that_need_it) {
    Stage s;
    auto client = s.client_with_function();
    s.worker(2);
    s.send(
        client,
        Graph().task(1).task(2).task(3, {1}).task(4, {3, 2}, true).task(5, {2}, true).complete());
    s.dispatch();
    auto runs = s.comm.take_runs();
    s.raised(runs[0], "error");
    auto failures = s.comm.take_failures();
    ck_assert_uint_eq(failures.size(), 1);
    ck_assert_uint_eq(failures[0].failure.k, 4);
    ck_text_eq(failures[0].failure.payload, "error");
    s.done(runs[1], "two"); // still needed, by 5
    s.dispatch();
    s.done(s.one_run(), "five");
    ck_assert_uint_eq(s.comm.take_results().at(0).key, 5);
    ck_assert(s.core.tasks.empty());
    forget_news(s);
    s.over();
}
END_TEST

// The other input of what failed runs on the same worker, and nobody wants it now.
START_TEST(test_a_failure_stops_what_only_it_needed) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker(2);
    s.send(client, Graph().task(1).task(2).task(3, {1, 2}, true).complete());
    s.dispatch();
    auto runs = s.comm.take_runs();
    s.raised(runs[0]);
    ck_assert_uint_eq(s.comm.take_failures().size(), 1);
    auto kills = s.comm.take_kills();
    ck_assert_uint_eq(kills.size(), 1);
    ck_assert(kills[0].task == runs[1].task && kills[0].worker == worker);
    ck_assert(s.core.tasks.empty());
    s.done(runs[1]); // it came too late
    forget_news(s);
    s.over();
}
END_TEST

// The same in one report: the second outcome is of a task that the first one ended.
START_TEST(test_a_failure_and_what_it_stopped_in_one_report) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker(2);
    s.send(client, Graph().task(1).task(2).task(3, {1, 2}, true).complete());
    s.dispatch();
    auto runs = s.comm.take_runs();
    proto::Done done{
        {runs[0].task.value, runs[1].task.value}, {1, 1}, {5, 5}, {1, 0}, {1, 1}, "ev"};
    must(on_done(s.reactor(), worker, done));
    ck_assert_uint_eq(s.comm.take_failures().size(), 1);
    ck_assert_uint_eq(s.comm.take_kills().size(), 1);
    ck_assert(s.core.tasks.empty());
    forget_news(s);
    s.over();
}
END_TEST

START_TEST(test_a_graph_in_parts) {
    Stage s;
    auto client = s.client_with_function();
    s.worker(4);
    s.send(client, Graph().task(1).task(2));
    s.dispatch();
    auto runs = s.comm.take_runs();
    s.done(runs[0], "one");
    s.raised(runs[1], "error");
    forget_news(s);
    s.comm.expect_nothing();                   // neither is wanted
    ck_assert_uint_eq(s.core.tasks.size(), 2); // kept: what follows may name them
    s.send(client, Graph().task(3, {1}, true).task(4, {1, 2}, true).complete());
    auto failures = s.comm.take_failures();
    ck_assert_uint_eq(failures.size(), 1);
    ck_assert_uint_eq(failures[0].failure.k, 4);
    ck_text_eq(failures[0].failure.payload, "error");
    s.dispatch();
    auto run = s.one_run();
    ck_assert(run.inputs == std::vector<std::string>{"one"});
    s.done(run);
    s.comm.take_results();
    ck_assert(s.core.tasks.empty() && s.core.failures.empty());
    forget_news(s);
    s.over();
}
END_TEST

START_TEST(test_cancel_in_a_graph) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    s.send(client, Graph().task(1, {}, true).task(2, {1}, true).task(3, {1}, true).complete());
    s.dispatch();
    auto run = s.one_run();
    on_cancel(s.reactor(), client, {1, 2}); // 3 needs 1 still
    check_invariants(s.core);
    ck_assert_uint_eq(s.comm.take_failures().size(), 2);
    on_cancel(s.reactor(), client, {1, 2}); // known to be cancelled
    ck_assert(s.comm.take_failures().empty());
    on_cancel(s.reactor(), client, {3});
    ck_assert_uint_eq(s.comm.take_failures().size(), 1);
    ck_assert_uint_eq(s.comm.take_kills().size(), 1);
    ck_assert(s.core.tasks.empty());
    s.done(run);
    forget_news(s);
    s.over();
}
END_TEST

START_TEST(test_a_client_goes_with_its_graphs) {
    Stage s;
    auto client = s.client_with_function(), other = s.client_with_function();
    s.worker();
    s.send(client, Graph(1).task(1).task(2, {1}).task(3, {1, 2}, true));
    s.send(client, Graph(2).task(4).task(5, {4}, true).complete());
    s.send(other, Graph(1).task(1, {}, true).complete());
    s.dispatch();
    s.done(s.comm.take_runs().at(0));
    s.dispatch();
    s.comm.take_runs();
    on_client_lost(s.reactor(), client);
    check_invariants(s.core);
    ck_assert_uint_eq(s.core.tasks.size(), 1);
    s.comm.take_kills();
    s.dispatch();
    s.done(s.one_run(), "other's");
    ck_text_eq(s.comm.take_results().at(0).value, "other's");
    ck_assert(s.core.tasks.empty());
    forget_news(s);
    s.comm.take_forgets();
    s.over();
}
END_TEST

START_TEST(test_a_lost_worker_and_a_graph) {
    Stage s;
    auto client = s.client_with_function();
    auto first = s.worker();
    s.send(client, Graph().task(1).task(2, {1}, true).complete());
    s.dispatch();
    s.done(s.one_run(), "one");
    s.dispatch();
    s.one_run();
    s.lost(first);
    s.worker();
    s.dispatch();
    auto run = s.one_run();
    ck_assert(run.inputs == std::vector<std::string>{"one"});
    ck_assert_uint_eq(run.instance.value, 2);
    s.done(run);
    s.comm.take_results();
    forget_news(s);
    s.over();
}
END_TEST

// Named after its input has failed, a task has the failure as those named before.
START_TEST(test_a_failure_that_is_inherited_late) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    s.send(client, Graph().task(1).task(2, {1}, true));
    for (int tries = 3; tries > 0; tries--) {
        s.dispatch();
        s.failed(s.one_run(), proto::FailureKind::crashed);
    }
    s.send(client, Graph().task(3, {1}, true).complete());
    auto failures = s.comm.take_failures();
    ck_assert_uint_eq(failures.size(), 2);
    ck_assert_uint_eq(failures[0].failure.tries, 3);
    ck_assert_uint_eq(failures[1].failure.tries, 3);
    forget_news(s);
    s.over();
}
END_TEST

START_TEST(test_what_closes_the_client_of_a_graph) {
    Stage s;
    auto client = s.client_with_function();
    auto refused = [&](const Graph &graph) {
        auto text = error_of(on_graph(s.reactor(), client, graph.message));
        on_client_lost(s.reactor(), client);
        check_invariants(s.core);
        ck_assert(s.core.tasks.empty());
        client = s.client_with_function();
        return text;
    };
    ck_contains(refused(Graph().task(1).task(2, {7})),
                "task 2 needs 7, which was not named before");
    ck_contains(refused(Graph().task(1, {1})), "task 1 needs 1");
    ck_contains(refused(Graph().task(1).task(1)), "task 1 was submitted before");
    Graph unknown;
    unknown.task(1).message.f[0] = 9;
    ck_contains(refused(unknown), "function 9 was never sent");
    Graph large;
    large.task(1).message.len[0] = 1;
    ck_contains(refused(large), "less than the payload");
    s.comm.take_forgets();
    s.over();
}
END_TEST

// A chain as long as a graph may be: nothing nests.
START_TEST(test_a_long_chain_fails_and_is_cancelled) {
    constexpr std::uint64_t length = 200'000;
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    for (bool cancelled : {false, true}) {
        Graph chain;
        chain.task(1);
        for (std::uint64_t key = 2; key <= length; key++) chain.task(key, {key - 1}, key == length);
        must(on_graph(s.reactor(), client, chain.complete().message));
        s.dispatch();
        auto run = s.one_run();
        if (cancelled)
            on_cancel(s.reactor(), client, {length});
        else
            s.raised(run);
        ck_assert_uint_eq(s.comm.take_failures().size(), 1);
        ck_assert(s.core.tasks.empty());
    }
    s.comm.take_kills();
    forget_news(s);
    s.over();
}
END_TEST

Suite *suite() {
    auto s = suite_create("graph");
    auto t = tcase_create("graph");
    tcase_set_timeout(t, 60);
    for (auto test :
         {test_values_go_to_those_that_need_them, test_the_order_is_the_clients,
          test_a_failure_reaches_all_that_need_it, test_a_failure_stops_what_only_it_needed,
          test_a_failure_and_what_it_stopped_in_one_report, test_a_graph_in_parts,
          test_cancel_in_a_graph, test_a_client_goes_with_its_graphs,
          test_a_lost_worker_and_a_graph, test_what_closes_the_client_of_a_graph,
          test_a_failure_that_is_inherited_late, test_a_long_chain_fails_and_is_cancelled})
        tcase_add_test(t, test);
    suite_add_tcase(s, t);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

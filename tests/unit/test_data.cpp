// SPDX-License-Identifier: Apache-2.0
//
// Large values: where they are, who gets them, and how they come there. After every event all
// invariants of core.h are checked (stage.h).
#include "tests/unit/stage.h"

#include <algorithm>
#include <random>

#include "tests/unit/data.h"

using namespace dtask;
using namespace dtask::scheduler;
using dtask::fakes::RecordingComm;
using dtask::proto::FailureKind;
using dtask::test::check_invariants;
using dtask::test::Graph;
using dtask::test::over;
using dtask::test::path;
using dtask::test::Stage;

namespace {

// All on one node: the path is handed on, nothing travels.
START_TEST(test_one_node_reads_one_copy) {
    Stage s;
    auto client = s.client_with_function();
    s.worker(1, "a");
    s.worker(1, "a");
    s.send(client, Graph().task(1).task(2, {1}, true).task(3, {1, 1}, true).complete());
    auto source = s.next_run();
    s.stored(source);
    s.dispatch();
    auto runs = s.comm.take_runs();
    ck_assert_uint_eq(runs.size(), 2);
    ck_assert(runs[0].worker != runs[1].worker);
    auto at = path(source.task, source.worker == runs[0].worker ? "/s0" : "/s1");
    at = path(source.task, s.core.workers.at(source.worker).about.store.c_str());
    ck_assert(runs[0].inputs == std::vector<std::string>{at});
    ck_assert((runs[1].inputs == std::vector<std::string>{at, at}));
    s.done(runs[0]);
    ck_assert(s.comm.take_frees().empty());
    s.done(runs[1]);
    auto frees = s.comm.take_frees();
    ck_assert_uint_eq(frees.size(), 1);
    ck_assert(frees[0].first == source.worker && frees[0].second == source.task);
    s.comm.take_results();
    over(s);
}
END_TEST

// One transfer to the other node, however many tasks wait for it there.
START_TEST(test_a_value_travels_once_to_a_node) {
    Stage s;
    auto client = s.client_with_function();
    s.worker(1, "a");
    s.send(
        client,
        Graph().task(1).task(2, {1}).task(3, {1}).task(4, {1}).task(5, {2, 3, 4}, true).complete());
    auto source = s.next_run();
    s.stored(source, 100); // small: it is quicker to copy than to wait
    s.worker(1, "b");
    s.worker(1, "b");
    s.dispatch();
    auto here = s.comm.take_runs();
    ck_assert_uint_eq(here.size(), 1);
    ck_assert(here[0].worker == source.worker);
    auto fetches = s.comm.take_fetches();
    ck_assert_uint_eq(fetches.size(), 1);
    ck_assert(fetches[0].data == source.task);
    ck_text_eq(fetches[0].from, "w0");
    s.fetched(fetches[0]);
    auto there = s.comm.take_runs();
    ck_assert_uint_eq(there.size(), 2);
    auto at = path(source.task, s.core.workers.at(fetches[0].worker).about.store.c_str());
    for (const auto &run : there) ck_assert(run.inputs == std::vector<std::string>{at});
    s.done(here[0]);
    for (const auto &run : there) s.done(run);
    ck_assert_uint_eq(s.comm.take_frees().size(), 2); // both copies
    s.done(s.next_run());
    s.comm.take_results();
    over(s);
}
END_TEST

START_TEST(test_tasks_run_where_their_data_are) {
    Stage s;
    auto client = s.client_with_function();
    auto first = s.worker(), second = s.worker();
    s.send(client, Graph().task(1).task(2).task(3, {1}, true).task(4, {2}, true).complete());
    s.dispatch();
    auto runs = s.comm.take_runs();
    ck_assert_uint_eq(runs.size(), 2);
    for (const auto &run : runs) s.stored(run, 1'000'000'000);
    s.dispatch();
    auto next = s.comm.take_runs();
    ck_assert_uint_eq(next.size(), 2);
    ck_assert(s.comm.take_fetches().empty());
    for (const auto &run : next) {
        auto source = run.worker == first ? "/s0" : "/s1";
        ck_assert(run.worker == first || run.worker == second);
        ck_assert(run.inputs.at(0).starts_with(std::string("@") + source));
        s.done(run);
    }
    s.comm.take_frees();
    s.comm.take_results();
    over(s);
}
END_TEST

// Waiting for a worker without room is better than copying as long as it is quicker: 300 MB take
// as long as three of these tasks.
START_TEST(test_what_is_slow_to_copy_is_waited_for) {
    Stage s;
    auto client = s.client_with_function();
    auto home = s.worker();
    Graph graph;
    graph.task(1);
    for (std::uint64_t key = 2; key < 6; key++) graph.task(key, {1}, true);
    s.send(client, graph.complete());
    s.stored(s.next_run(), 300'000'000);
    auto other = s.worker();
    s.dispatch();
    auto runs = s.comm.take_runs();
    ck_assert_uint_eq(runs.size(), 3);
    for (const auto &run : runs) ck_assert(run.worker == home);
    auto fetches = s.comm.take_fetches();
    ck_assert_uint_eq(fetches.size(), 1);
    ck_assert(fetches[0].worker == other);
    s.fetched(fetches[0]);
    s.done(s.one_run());
    for (const auto &run : runs) s.done(run);
    s.comm.take_frees();
    s.comm.take_results();
    over(s);
}
END_TEST

START_TEST(test_a_client_keeps_and_releases) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    s.submit(client, 7, 1);
    auto run = s.next_run();
    s.stored(run);
    auto stored = s.comm.take_stored();
    ck_assert_uint_eq(stored.size(), 1);
    ck_assert_uint_eq(stored[0].key, 7);
    ck_assert(stored[0].data == run.task && stored[0].client == client);
    ck_text_eq(stored[0].at, "w0");
    // It may be an input of what comes later.
    s.send(client, Graph().task(8, {7}, true).complete());
    on_release(s.reactor(), client, {7, 7, 9});
    check_invariants(s.core);
    ck_assert(s.comm.take_frees().empty());
    s.done(s.next_run());
    ck_assert_uint_eq(s.comm.take_frees().size(), 1);
    s.comm.take_results();
    over(s);
}
END_TEST

// Cancelled while it ran, and yet it stored its value.
START_TEST(test_a_stored_value_that_nobody_wants) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker();
    s.submit(client, 7, 1);
    auto run = s.next_run();
    on_cancel(s.reactor(), client, {7});
    s.comm.take_failures();
    ck_assert_uint_eq(s.comm.take_kills().size(), 1);
    s.stored(run);
    auto frees = s.comm.take_frees();
    ck_assert_uint_eq(frees.size(), 1);
    ck_assert(frees[0].first == worker && frees[0].second == run.task);
    over(s);
}
END_TEST

START_TEST(test_a_transfer_that_fails) {
    Stage s;
    auto client = s.client_with_function();
    auto first = s.worker(1, "a");
    s.send(client, Graph().task(1).task(2, {1}).task(3, {1}).task(4, {2, 3}, true).complete());
    auto source = s.next_run();
    s.stored(source, 100);
    s.worker(1, "b");
    s.dispatch();
    auto here = s.comm.take_runs().at(0);
    auto fetches = s.comm.take_fetches();
    ck_assert_uint_eq(fetches.size(), 1);
    s.unfetched(fetches[0]); // its source counts as lost, and it is made again
    auto frees = s.comm.take_frees();
    ck_assert_uint_eq(frees.size(), 1);
    ck_assert(frees[0].first == first);
    s.done(here); // it had opened the file
    auto again = s.next_run();
    ck_text_eq(again.args, "a1");
    s.stored(again, 100);
    s.dispatch();
    for (const auto &fetch : s.comm.take_fetches()) s.fetched(fetch);
    for (int left = 2; left > 0; left--) {
        s.dispatch();
        for (const auto &run : s.comm.take_runs()) s.done(run);
    }
    ck_assert_uint_eq(s.comm.take_results().size(), 1);
    s.comm.take_frees();
    over(s);
}
END_TEST

// Where a node has no room for an input its source is not to blame: the task goes there.
START_TEST(test_a_node_without_room) {
    Stage s;
    auto client = s.client_with_function();
    auto first = s.worker(1, "a");
    s.send(client, Graph().task(1).task(2, {1}).task(3, {1}).task(4, {2, 3}, true).complete());
    s.stored(s.next_run(), 100);
    s.worker(1, "b");
    s.dispatch();
    auto here = s.comm.take_runs().at(0);
    auto fetches = s.comm.take_fetches();
    ck_assert_uint_eq(fetches.size(), 1);
    s.unfetched(fetches[0], true);
    ck_assert(s.comm.take_frees().empty());
    s.done(here);
    s.dispatch();
    ck_assert(s.comm.take_fetches().empty());
    auto there = s.one_run();
    ck_assert(there.worker == first);
    s.done(there);
    s.done(s.next_run());
    ck_assert_uint_eq(s.comm.take_results().size(), 1);
    s.comm.take_frees();
    over(s);
}
END_TEST

// One that may run nowhere else fails with the reason; the value stays.
START_TEST(test_the_only_node_has_no_room) {
    Stage s;
    auto client = s.client_with_function();
    s.worker(1, "a");
    s.send(client, Graph().task(1, {}, true).complete());
    s.stored(s.next_run(), 100);
    auto other = s.worker(1, "b");
    auto graph = Graph(2).task(2, {1}, true).complete();
    graph.message.needs.workers = {"b"};
    s.send(client, graph);
    for (int tries = 3; tries > 0; tries--) {
        s.dispatch();
        auto fetches = s.comm.take_fetches();
        ck_assert_uint_eq(fetches.size(), 1);
        ck_assert(fetches[0].worker == other);
        s.unfetched(fetches[0], true);
    }
    auto failures = s.comm.take_failures();
    ck_assert_uint_eq(failures.size(), 1);
    const auto &failure = failures[0].failure;
    ck_assert(failure.kind == FailureKind::full);
    ck_assert_uint_eq(failure.tries, 3);
    ck_text_eq(failure.node, "b");
    ck_contains(failure.message, "no room for the 100 bytes of its input ");
    ck_contains(failure.message, ": /disk has no room");
    ck_assert(s.comm.take_frees().empty()); // the value is as good as before
    s.send(client, Graph(3).task(3, {1}, true).complete());
    s.done(s.next_run());
    ck_assert_uint_eq(s.comm.take_results().size(), 1);
}
END_TEST

/// Events at random: whatever comes, the state is sound, and in the end nothing is left.
START_TEST(test_at_random) {
    std::mt19937 random(static_cast<unsigned>(_i) + 1);
    auto below = [&](std::size_t n) { return random() % std::max<std::size_t>(n, 1); };
    Stage s;
    s.core.settings.expected = 100;
    auto client = s.client_with_function();
    std::vector<RecordingComm::Run> running;
    std::vector<RecordingComm::Fetch> fetching;
    std::vector<std::uint64_t> wanted;
    const char *nodes[]{"a", "b", "c"};
    std::uint64_t last_key = 0, last_graph = 0;
    for (int step = 0; step < 300; step++) {
        switch (below(12)) {
        case 0:
        case 1: {
            if (!s.core.clients.at(client).graphs.contains(last_graph)) last_graph++;
            Graph graph(last_graph);
            auto first = last_key;
            for (auto n = below(6); n > 0; n--) {
                proto::Column inputs;
                for (auto left = below(4); left > 0; left--) {
                    auto key = last_key - below(5);
                    bool known = s.core.clients.at(client).tasks.contains(key) || key > first;
                    if (known && key <= last_key) inputs.push_back(key);
                }
                bool is_wanted = below(3) == 0;
                graph.task(++last_key, inputs, is_wanted);
                if (is_wanted) wanted.push_back(last_key);
            }
            if (below(4) == 0) graph.message.needs.workers = {nodes[below(3)], nodes[below(3)]};
            if (below(4) == 0) graph.message.needs.resources = {{"gpu", below(2) + 1}};
            if (below(2) == 0) graph.complete();
            s.send(client, graph);
            break;
        }
        case 2: s.worker(1 + below(3), nodes[below(3)]); break;
        case 3:
            if (!s.core.workers.empty() && below(3) == 0) {
                auto id = s.core.workers.begin()->first;
                s.lost(id);
                std::erase_if(running, [&](const auto &run) { return run.worker == id; });
                std::erase_if(fetching, [&](const auto &fetch) { return fetch.worker == id; });
            }
            break;
        case 4:
            if (!wanted.empty())
                on_cancel(s.reactor(), client, {wanted[below(wanted.size())], below(last_key)});
            break;
        case 5:
        case 6:
        case 7: {
            if (fetching.empty()) break;
            auto fetch = fetching.back();
            fetching.pop_back();
            below(4) == 0 ? s.unfetched(fetch, below(2) == 0) : s.fetched(fetch);
            break;
        }
        case 8:
            on_release(s.reactor(), client, {below(last_key), below(last_key)});
            on_lost_value(s.reactor(), client, {below(last_key), "w" + std::to_string(below(9))});
            break;
        default:
            if (running.empty()) break;
            auto at = running.begin() + static_cast<std::ptrdiff_t>(below(running.size()));
            auto run = *at;
            running.erase(at);
            switch (below(9)) {
            case 0: s.raised(run); break;
            case 1: s.failed(run, FailureKind::crashed); break;
            case 2: s.failed(run, FailureKind::missing); break;
            case 3:
            case 4:
            case 5: s.stored(run, 1 + below(2'000'000)); break;
            default: s.done(run, "v", below(10'000));
            }
        }
        s.dispatch();
        for (auto &run : s.comm.take_runs()) running.push_back(run);
        for (auto &fetch : s.comm.take_fetches()) fetching.push_back(fetch);
        check_invariants(s.core);
    }
    on_client_lost(s.reactor(), client);
    check_invariants(s.core);
    ck_assert(s.core.tasks.empty() && s.core.functions.empty() && s.core.ready.empty());
    ck_assert(s.core.failures.empty());
    for (const auto &[id, worker] : s.core.workers) ck_assert(worker.holds.empty());
}
END_TEST

Suite *suite() {
    auto s = suite_create("data");
    auto t = tcase_create("data");
    tcase_set_timeout(t, 60);
    for (auto test :
         {test_one_node_reads_one_copy, test_a_value_travels_once_to_a_node,
          test_tasks_run_where_their_data_are, test_what_is_slow_to_copy_is_waited_for,
          test_a_client_keeps_and_releases, test_a_stored_value_that_nobody_wants,
          test_a_transfer_that_fails, test_a_node_without_room, test_the_only_node_has_no_room})
        tcase_add_test(t, test);
    tcase_add_loop_test(t, test_at_random, 0, 200);
    suite_add_tcase(s, t);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

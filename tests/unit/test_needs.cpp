// SPDX-License-Identifier: Apache-2.0
//
// Tasks that not every worker may run: by its name, or by what it has. After
// every event all invariants of core.h are checked (stage.h).
#include "tests/unit/stage.h"

#include "lib/model/resources.h"

using namespace dtask;
using namespace dtask::scheduler;
using dtask::fakes::RecordingComm;
using dtask::proto::FailureKind;
using dtask::test::check_invariants;
using dtask::test::error_of;
using dtask::test::must;
using dtask::test::Stage;

namespace {

/// Tasks first..first+count-1 that need this.
void submit(Stage &s, ClientId client, std::uint64_t first, std::uint64_t count, proto::Needs needs,
            std::uint64_t timeout_ms = 0) {
    auto message = Stage::message(first, count);
    message.needs = std::move(needs);
    message.timeout_ms = timeout_ms;
    must(on_submit(s.reactor(), client, message));
    check_invariants(s.core);
}

WorkerId worker_with(Stage &s, proto::Resources resources, std::uint64_t concurrency = 4) {
    proto::Register about;
    about.task = s.next_slurm_task++;
    about.node = "n" + std::to_string(about.task);
    about.name = about.node + ".0";
    about.concurrency = concurrency;
    about.nthreads = 4;
    about.memory_limit = 1000;
    about.resources = std::move(resources);
    return on_new_worker(s.reactor(), about);
}

void over(Stage &s) {
    s.comm.take_functions();
    s.comm.take_counts();
    ck_assert(s.core.tasks.empty() && s.core.restricted.empty());
    s.over();
}

START_TEST(test_a_worker_by_name) {
    Stage s;
    auto client = s.client_with_function();
    auto first = s.worker(), second = s.worker();
    submit(s, client, 1, 2, {{"n1.1"}});
    submit(s, client, 3, 1, {{"elsewhere", "n0"}});
    submit(s, client, 4, 1, {{"w0"}}); // its address
    s.dispatch();
    auto at_second = s.comm.take_runs(second), at_first = s.comm.take_runs(first);
    ck_assert_uint_eq(at_second.size(), 2);
    ck_assert_uint_eq(at_first.size(), 2);
    for (const auto &run : at_second) s.done(run);
    for (const auto &run : at_first) s.done(run);
    ck_assert_uint_eq(s.comm.take_results().size(), 4);
    over(s);
}
END_TEST

// A worker runs no more at a time than its resources allow.
START_TEST(test_resources_are_shared_out) {
    Stage s;
    auto client = s.client_with_function();
    auto with = worker_with(s, {{"gpu", 2}}), without = worker_with(s, {});
    submit(s, client, 1, 3, {{}, {{"gpu", 1}, {"cpus", 1}}});
    s.dispatch();
    auto runs = s.comm.take_runs();
    ck_assert_uint_eq(runs.size(), 2);
    for (const auto &run : runs) ck_assert(run.worker == with);
    s.failed(runs[0], FailureKind::crashed); // it frees what it used, and takes it again
    s.dispatch();
    runs.erase(runs.begin());
    for (int left = 3; left > 0; left--) {
        for (const auto &run : s.comm.take_runs()) runs.push_back(run);
        ck_assert_uint_le(runs.size(), 2);
        s.done(runs.at(0));
        runs.erase(runs.begin());
        s.dispatch();
    }
    ck_assert_uint_eq(s.comm.take_results().size(), 3);
    (void)without;
    over(s);
}
END_TEST

START_TEST(test_cpus_and_memory_are_the_workers_own) {
    Stage s;
    auto client = s.client_with_function();
    worker_with(s, {});
    submit(s, client, 1, 3, {{}, {{"cpus", 3}}});
    submit(s, client, 4, 2, {{}, {{"memory", 600}}});
    s.dispatch();
    auto runs = s.comm.take_runs();
    ck_assert_uint_eq(runs.size(), 2); // one of each
    for (int left = 5; left > 0; left--) {
        s.done(runs.at(0));
        runs.erase(runs.begin());
        s.dispatch();
        for (const auto &run : s.comm.take_runs()) runs.push_back(run);
    }
    s.comm.take_results();
    over(s);
}
END_TEST

// What cannot run now does not keep others from running.
START_TEST(test_others_are_not_held_up) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    submit(s, client, 1, 1, {{"n1"}}); // it may come yet: two are expected
    s.submit(client, 2, 1);
    s.dispatch();
    auto runs = s.comm.take_runs();
    ck_assert_uint_eq(runs.size(), 1);
    ck_text_eq(runs[0].args, "a2");
    s.done(runs[0]);
    s.worker();
    s.dispatch();
    s.done(s.comm.take_runs().at(0));
    s.comm.take_results();
    over(s);
}
END_TEST

START_TEST(test_no_worker_suits) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    submit(s, client, 1, 2, {{"x", "y"}, {{"gpu", 2}}});
    s.dispatch();
    ck_assert(s.comm.take_failures().empty()); // the other worker may have it
    s.worker();
    s.dispatch();
    auto failures = s.comm.take_failures();
    ck_assert_uint_eq(failures.size(), 2);
    ck_assert(failures[0].failure.kind == FailureKind::unsuited);
    ck_contains(failures[0].failure.message, "no worker is one of x, y; 2 of gpu");
    over(s);
}
END_TEST

START_TEST(test_a_lost_worker_is_waited_for) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    auto second = s.worker();
    submit(s, client, 1, 1, {{"n1"}});
    s.dispatch();
    s.comm.take_runs();
    s.lost(second);
    s.dispatch();
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}
END_TEST

START_TEST(test_cancelled_and_lost_clients) {
    Stage s;
    auto client = s.client_with_function();
    worker_with(s, {{"gpu", 1}});
    submit(s, client, 1, 3, {{}, {{"gpu", 1}}});
    s.dispatch();
    s.comm.take_runs();
    on_cancel(s.reactor(), client, {1});
    check_invariants(s.core);
    s.comm.take_failures();
    s.comm.take_kills();
    s.dispatch();
    ck_assert_uint_eq(s.comm.take_runs().size(), 1);
    on_client_lost(s.reactor(), client);
    check_invariants(s.core);
    s.comm.take_kills();
    s.comm.take_forgets();
    over(s);
}
END_TEST

START_TEST(test_timeouts) {
    Stage s;
    auto client = s.client_with_function();
    s.worker();
    auto message = Stage::message(1, 1);
    message.timeout_ms = 1500;
    message.retries = 1;
    must(on_submit(s.reactor(), client, message));
    for (int tries = 2; tries > 0; tries--) {
        s.dispatch();
        auto run = s.comm.take_runs().at(0);
        ck_assert_uint_eq(run.timeout_ms, 1500);
        ck_assert(s.comm.take_failures().empty());
        s.failed(run, FailureKind::timeout, "ran longer than 1500 ms");
    }
    auto failures = s.comm.take_failures();
    ck_assert_uint_eq(failures.size(), 1);
    ck_assert(failures[0].failure.kind == FailureKind::timeout);
    over(s);
}
END_TEST

START_TEST(test_resources_of_a_task) {
    ck_assert(must(model::parse_resources("")).empty());
    auto two = must(model::parse_resources("gpu=2,licence=1"));
    ck_assert_uint_eq(two.size(), 2);
    ck_assert_uint_eq(two.at("gpu"), 2);
    for (auto [text, why] : {std::pair{"gpu", "not NAME=NUMBER"},
                             {"gpu=", "not a whole number"},
                             {"gpu=-1", "not a whole number"},
                             {"=1", "not NAME=NUMBER"},
                             {"a=1,,", "not NAME=NUMBER"},
                             {"cpus=1", "the worker's own"},
                             {"a=1,a=2", "stands twice"}}) {
        auto error = error_of(model::parse_resources(text));
        ck_contains(error, why);
        ck_contains(error, "accepted: names and numbers, as gpu=2,licence=1");
    }
}
END_TEST

Suite *suite() {
    auto s = suite_create("needs");
    auto t = tcase_create("needs");
    for (auto test : {test_a_worker_by_name, test_resources_are_shared_out,
                      test_cpus_and_memory_are_the_workers_own, test_others_are_not_held_up,
                      test_no_worker_suits, test_a_lost_worker_is_waited_for,
                      test_cancelled_and_lost_clients, test_timeouts, test_resources_of_a_task})
        tcase_add_test(t, test);
    suite_add_tcase(s, t);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

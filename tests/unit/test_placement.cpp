// SPDX-License-Identifier: Apache-2.0
//
// How much goes to which worker: the questions of placement.h, and what the reactor makes of the
// answers.
#include "tests/unit/stage.h"

#include <map>
#include <set>

#include "lib/model/task_name.h"
#include "runtime/scheduler/explain.h"
#include "runtime/scheduler/placement.h"

using namespace dtask;
using namespace dtask::scheduler;
using dtask::test::Stage;

namespace {

Worker worker(std::uint64_t assigned, std::uint64_t concurrency = 1, std::uint64_t asked = 0) {
    Worker w;
    w.about.concurrency = w.slots = concurrency;
    w.asked = asked;
    for (std::uint64_t n = 0; n < assigned; n++) w.assigned.push_back(TaskId{n + 1});
    return w;
}

Function function(double mean_us) {
    Function f;
    f.mean_us = mean_us;
    return f;
}

// Deep for tasks of microseconds, one in reserve for those of seconds.
START_TEST(test_depth) {
    auto one = worker(0), four = worker(0, 4);
    ck_assert_uint_eq(placement::depth(one, function(-1)), 2); // not measured yet
    ck_assert_uint_eq(placement::depth(one, function(0)), 257);
    ck_assert_uint_eq(placement::depth(one, function(10)), 257);
    ck_assert_uint_eq(placement::depth(one, function(100)), 51);
    ck_assert_uint_eq(placement::depth(one, function(5'000)), 2);
    ck_assert_uint_eq(placement::depth(one, function(3.6e9)), 2);
    ck_assert_uint_eq(placement::depth(four, function(-1)), 8);
    ck_assert_uint_eq(placement::depth(four, function(10)), 4 * 257);
}
END_TEST

// Commands run as many at a time as the worker has CPUs for, whatever its concurrency.
START_TEST(test_slots_of_commands) {
    auto w = worker(0);
    w.about.nthreads = 8;
    auto command = function(-1);
    ck_assert_uint_eq(placement::slots(w, command), 1);
    command.cpus = 1;
    ck_assert_uint_eq(placement::slots(w, command), 8);
    ck_assert_uint_eq(placement::depth(w, command), 16);
    // Their queue is longer: those that end within 100 ms are reported together, and go on
    // meanwhile.
    command.mean_us = 10'000;
    ck_assert_uint_eq(placement::depth(w, command), 168);
    command.cpus = 3;
    ck_assert_uint_eq(placement::slots(w, command), 2);
    command.cpus = 9;
    ck_assert_uint_eq(placement::slots(w, command), 1);
}
END_TEST

START_TEST(test_may_take) {
    ck_assert(placement::may_take(worker(0)));
    ck_assert(placement::may_take(worker(256)));
    ck_assert(!placement::may_take(worker(257)));
    ck_assert(placement::may_take(worker(257, 2)));
}
END_TEST

// Never none and never more than there is room for; a fair part near the end.
START_TEST(test_share) {
    ck_assert_uint_eq(placement::share(100, 1'000'000, 8, -1), 100);
    ck_assert_uint_eq(placement::share(100, 160, 8, -1), 10);
    ck_assert_uint_eq(placement::share(100, 8, 8, -1), 1);
    ck_assert_uint_eq(placement::share(100, 1, 8, -1), 1);
    ck_assert_uint_eq(placement::share(1, 1'000, 1, -1), 1);
    ck_assert_uint_eq(placement::share(0, 1'000, 0, -1), 1);
    for (std::uint64_t room = 1; room < 20; room++)
        for (std::uint64_t ready = 1; ready < 50; ready++)
            for (std::uint64_t idle = 1; idle < 10; idle++)
                for (double mean : {-1.0, 0.0, 3.0, 1e6}) {
                    auto given = placement::share(room, ready, idle, mean);
                    ck_assert_uint_ge(given, 1);
                    ck_assert_uint_le(given, room);
                }
}
END_TEST

// Short tasks go to fewer workers than there are, long ones to all: the first gets most.
START_TEST(test_share_of_short_tasks) {
    ck_assert_uint_eq(placement::share(257, 500, 4'000, 1), 126);
    ck_assert_uint_eq(placement::share(257, 500, 4'000, 100), 12);
    ck_assert_uint_eq(placement::share(257, 500, 4'000, 10'000), 1);
    ck_assert_uint_eq(placement::share(257, 500, 4'000, -1), 1);
    ck_assert_uint_eq(placement::share(20, 500, 4'000, 1), 20);
    ck_assert_uint_eq(placement::share(257, 8, 8, 20), 3);
    ck_assert_uint_eq(placement::share(257, 100'000, 200, 10'000), 250);
}
END_TEST

// Only of tasks so short that the workers idle whatever they are sent, and as long as reports come.
START_TEST(test_enough_under_way) {
    Core core;
    fakes::ManualClock clock;
    auto reported_us = clock.now_us();
    auto is_enough = [&](double mean_us, std::uint64_t under_way) {
        auto f = function(mean_us);
        f.under_way = under_way;
        f.reported_us = reported_us;
        return placement::enough_under_way(core, f, clock);
    };
    ck_assert(!is_enough(1, 1'000'000)); // no worker
    for (std::uint64_t n = 1; n <= 1'000; n++) core.workers[WorkerId{n}] = worker(0);
    ck_assert(!is_enough(1, 5'000) && is_enough(1, 5'100));
    ck_assert(!is_enough(0, 5'000) && is_enough(0, 5'100));
    ck_assert(!is_enough(100, 23'000) && is_enough(100, 24'000));
    // Of longer ones as many as run while those before are dealt with, and more.
    for (std::uint64_t n = 1'001; n <= 100'000; n++) core.workers[WorkerId{n}] = worker(0);
    ck_assert(!is_enough(30'000, 120'000) && is_enough(30'000, 130'000));
    ck_assert(!is_enough(60'000, 1'000'000));
    for (std::uint64_t n = 1'001; n <= 100'000; n++) core.workers.erase(WorkerId{n});
    ck_assert(!is_enough(500, 1'000'000)); // a thousand workers take what the scheduler can send
    ck_assert(!is_enough(-1, 1'000'000));  // nobody knows
    clock.advance(20'000);
    ck_assert(!is_enough(1, 1'000'000));
}
END_TEST

START_TEST(test_surplus_and_donor) {
    ck_assert_uint_eq(placement::surplus(worker(0)), 0);
    ck_assert_uint_eq(placement::surplus(worker(1)), 0);
    ck_assert_uint_eq(placement::surplus(worker(5)), 4);
    ck_assert_uint_eq(placement::surplus(worker(5, 4)), 1);
    ck_assert_uint_eq(placement::surplus(worker(5, 1, 4)), 0);
    ck_assert_uint_eq(placement::surplus(worker(5, 4, 4)), 0);

    Core core;
    ck_assert(!placement::donor(core));
    core.workers[WorkerId{1}] = worker(1);
    core.workers[WorkerId{2}] = worker(0);
    ck_assert(!placement::donor(core)); // what has begun cannot be given
    core.workers[WorkerId{3}] = worker(3);
    core.workers[WorkerId{4}] = worker(9, 1, 7);
    ck_assert(placement::donor(core) == WorkerId{3});

    // The same among those in order, of which fewer are looked at.
    for (auto &[id, one] : core.workers) core.idle_order.insert({one.load(), id});
    ck_assert(placement::donor(core) == WorkerId{3}); // worker 4 was asked for most of its
    core.workers[WorkerId{5}] = worker(4, 1, 1);
    core.idle_order.insert({4, WorkerId{5}});
    core.workers[WorkerId{6}] = worker(4);
    core.idle_order.insert({4, WorkerId{6}});
    ck_assert(placement::donor(core) == WorkerId{6});
    core.workers[WorkerId{7}] = worker(500); // one that may take no more is in no order
    ck_assert(placement::donor(core) == WorkerId{7});
}
END_TEST

// The same as the reactor has it

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

// Of tiny tasks no more are under way at thousands of workers than are worth it, and all are done.
START_TEST(test_no_flood_of_tiny_tasks) {
    Stage s;
    auto client = s.client_with_function();
    constexpr std::uint64_t tasks = 11'000, enough = 5'024, most_of_one = 4 * 257;
    for (int n = 0; n < 30; n++) s.worker(4);
    s.submit(client, 1, tasks);
    auto &function = s.core.functions.begin()->second;
    std::size_t results = 0;
    auto report = [&](const std::vector<fakes::RecordingComm::Run> &runs) {
        std::map<WorkerId, std::vector<fakes::RecordingComm::Run>> by_worker;
        for (const auto &run : runs) by_worker[run.worker].push_back(run);
        for (const auto &[worker, its] : by_worker) s.done(its, 1);
        results += s.comm.take_results().size();
    };
    s.dispatch();
    report(s.comm.take_runs());
    s.dispatch();
    auto sent = s.comm.take_runs();
    ck_assert_uint_ge(function.under_way, enough);
    ck_assert_uint_le(function.under_way, enough + most_of_one);
    ck_assert(s.dispatch()); // it wants to be called again
    ck_assert(s.comm.take_runs().empty());
    auto held = s.core.ready.begin()->second.first();
    auto &task = s.core.tasks.at(held);
    auto why = explain(s.core, s.clock,
                       test::must(model::parse_task_name("f-" + std::to_string(task.key))))
                   .front()
                   .why;
    ck_contains(why, "it is the next one");
    ck_contains(why, "under way, as many as the scheduler can deal with");
    // Where none is reported they are not what their mean says: each worker gets its share.
    s.clock.advance(20'000);
    s.dispatch();
    auto more = s.comm.take_runs();
    ck_assert_uint_gt(more.size(), enough);
    report(sent);
    report(more);
    while (!s.core.tasks.empty()) {
        s.dispatch();
        ck_assert_uint_le(function.under_way, enough + most_of_one);
        report(s.comm.take_runs());
    }
    ck_assert_uint_eq(results, tasks);
    s.comm.take_retracts(); // at the end, by those that idle
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
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

Suite *suite() {
    auto s = suite_create("placement");
    auto c = tcase_create("placement");
    tcase_add_test(c, test_depth);
    tcase_add_test(c, test_slots_of_commands);
    tcase_add_test(c, test_may_take);
    tcase_add_test(c, test_share);
    tcase_add_test(c, test_share_of_short_tasks);
    tcase_add_test(c, test_enough_under_way);
    tcase_add_test(c, test_surplus_and_donor);
    for (auto test : {test_few_tasks_are_spread, test_a_function_is_tried_by_few,
                      test_no_flood_of_tiny_tasks, test_depth_follows_the_run_time})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

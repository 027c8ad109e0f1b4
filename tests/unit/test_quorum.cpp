// SPDX-License-Identifier: Apache-2.0
//
// Quorum: how many workers a command waits for, who has not come, and what it is told of the rest.
#include "tests/unit/unit.h"

#include "runtime/launch/quorum.h"
#include "tests/unit/launch_spec.h"

using namespace dtask;
using namespace dtask::launch;

namespace {

proto::WorkerInfo worker(std::uint64_t task, std::uint64_t threads, std::uint64_t memory) {
    proto::WorkerInfo w;
    w.about.task = task;
    w.about.nthreads = threads;
    w.about.memory_limit = memory;
    return w;
}

START_TEST(test_how_many_are_waited_for) {
    auto spec = test::spec(); // four tasks of four CPUs
    ck_assert_uint_eq(wanted_workers(spec), 1);
    spec.options.wait.count = 3;
    ck_assert_uint_eq(wanted_workers(spec), 3);
    spec.options.wait.all = true;
    ck_assert_uint_eq(wanted_workers(spec), 4); // packed: one on what task 0 has left
    spec.options.slots = model::SlotMode::dedicated;
    ck_assert_uint_eq(wanted_workers(spec), 2);
}
END_TEST

START_TEST(test_who_is_missing) {
    auto spec = test::spec();
    spec.options.slots = model::SlotMode::dedicated;
    spec.options.wait.all = true;
    spec.options.timeout_s = 5;
    proto::Info info;
    ck_text_eq(tell_missing_workers(spec, info),
               "only 0 of 2 workers were ready after 5 s (--dtask-timeout); the workers of these "
               "tasks are missing: 2,3");
    info.workers = {worker(3, 4, 0)};
    ck_contains(tell_missing_workers(spec, info), "only 1 of 2 workers were ready after 5 s");
    ck_contains(tell_missing_workers(spec, info), "these tasks are missing: 2");
}
END_TEST

// A client plans with a whole task's memory, whichever worker came first.
START_TEST(test_what_the_command_is_told) {
    auto spec = test::spec();
    proto::Info info;
    info.expected = 4;
    info.workers = {worker(0, 2, 500), worker(1, 4, 1000), worker(2, 0, 9999)};
    auto facts = facts_of(spec, info, "10.0.0.1:20001");
    ck_text_eq(facts.address, "10.0.0.1:20001");
    ck_text_eq(facts.scheduler_file, "/home/u/.dtask/12.3.json");
    ck_assert_uint_eq(facts.workers, 4);
    ck_assert_uint_eq(facts.nthreads, 4);
    ck_assert_uint_eq(facts.memory_limit, 1000);
    info.workers.clear();
    ck_assert_uint_eq(facts_of(spec, info, "").memory_limit, 0);
}
END_TEST

} // namespace

int main() {
    Suite *suite = suite_create("quorum");
    TCase *cases = tcase_create("quorum");
    for (auto test :
         {test_how_many_are_waited_for, test_who_is_missing, test_what_the_command_is_told})
        tcase_add_test(cases, test);
    suite_add_tcase(suite, cases);
    return test::run(suite);
}

// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include "lib/model/slots.h"

using namespace dtask;
using namespace dtask::model;
using dtask::test::error_of;
using dtask::test::must;

namespace {

START_TEST(test_counts_of_the_contract) {
    struct {
        SlotMode mode;
        std::uint32_t cpus, workers;
    } rows[]{{SlotMode::packed, 4, 8},  {SlotMode::packed, 3, 8},    {SlotMode::packed, 2, 7},
             {SlotMode::packed, 1, 7},  {SlotMode::dedicated, 4, 6}, {SlotMode::dedicated, 1, 6},
             {SlotMode::overlap, 4, 8}, {SlotMode::overlap, 1, 8}};
    for (auto &row : rows) {
        auto made = must(plan(row.mode, 8, row.cpus));
        ck_assert_uint_eq(made.workers, row.workers);
    }
}
END_TEST

// In every plan: one scheduler, one client, as many workers as it says, and no
// CPU of a task given away twice.
START_TEST(test_invariants) {
    for (auto mode : {SlotMode::packed, SlotMode::dedicated, SlotMode::overlap})
        for (std::uint32_t tasks = 1; tasks <= 9; tasks++)
            for (std::uint32_t cpus = 0; cpus <= 6; cpus++) {
                auto made = plan(mode, tasks, cpus);
                if (!made) continue;
                std::uint32_t schedulers = 0, clients = 0, workers = 0;
                for (std::uint32_t rank = 0; rank < tasks; rank++) {
                    auto role = role_of(*made, rank);
                    schedulers += role.scheduler;
                    clients += role.client;
                    workers += role.worker;
                    ck_assert_uint_eq(role.worker, role.worker_cpus > 0);
                    ck_assert_uint_eq(role.worker_cpus + role.service_cpus, made->cpus_per_task);
                }
                ck_assert_uint_eq(schedulers, 1);
                ck_assert_uint_eq(clients, 1);
                ck_assert_uint_eq(workers, made->workers);
                ck_assert_uint_ge(workers, 1);
            }
}
END_TEST

START_TEST(test_roles) {
    auto packed = must(plan(SlotMode::packed, 8, 4));
    ck_assert((role_of(packed, 0) == Role{true, true, true, 2, 2}));
    ck_assert((role_of(packed, 7) == Role{false, false, true, 4, 0}));
    ck_assert((role_of(packed, 8) == Role{}));
    ck_assert((role_of(packed, UINT32_MAX) == Role{}));
    auto narrow = must(plan(SlotMode::packed, 2, 1));
    ck_assert((role_of(narrow, 0) == Role{true, true, false, 0, 1}));
    auto dedicated = must(plan(SlotMode::dedicated, 3, 2));
    ck_assert((role_of(dedicated, 0) == Role{true, false, false, 0, 2}));
    ck_assert((role_of(dedicated, 1) == Role{false, true, false, 0, 2}));
    ck_assert((role_of(dedicated, 2) == Role{false, false, true, 2, 0}));
    auto overlap = must(plan(SlotMode::overlap, 1, 1));
    ck_assert((role_of(overlap, 0) == Role{true, true, true, 1, 0}));
}
END_TEST

START_TEST(test_too_few_tasks) {
    struct {
        SlotMode mode;
        std::uint32_t tasks, cpus;
    } rows[]{{SlotMode::packed, 1, 1},    {SlotMode::packed, 1, 2},     {SlotMode::packed, 0, 8},
             {SlotMode::dedicated, 2, 8}, {SlotMode::dedicated, 1, 64}, {SlotMode::dedicated, 0, 1},
             {SlotMode::overlap, 0, 1}};
    for (auto &row : rows) {
        auto text = error_of(plan(row.mode, row.tasks, row.cpus));
        ck_contains(text, ("--dtask-slots=" + std::string(name_of(row.mode)) + ": ").c_str());
    }
    ck_text_eq(error_of(plan(SlotMode::dedicated, 2, 1)),
               "--dtask-slots=dedicated: needs at least 3 tasks, for the scheduler, the client "
               "and a worker; the step has 2 tasks of 1 CPU; accepted: more tasks (-n), packed or "
               "overlap");
    ck_contains(error_of(plan(SlotMode::packed, 1, 2)),
                "needs at least 2 tasks, or 1 of at least 3 CPUs; the step has 1 task of 2 CPUs");
    must(plan(SlotMode::packed, 1, 3));
}
END_TEST

Suite *suite() {
    auto s = suite_create("slots");
    auto c = tcase_create("slots");
    tcase_add_test(c, test_counts_of_the_contract);
    tcase_add_test(c, test_invariants);
    tcase_add_test(c, test_roles);
    tcase_add_test(c, test_too_few_tasks);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

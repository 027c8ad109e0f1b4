// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include "lib/model/limits.h"

using namespace dtask;
using namespace dtask::model;

namespace {

constexpr std::uint64_t MB = 1 << 20;
constexpr Role whole{false, false, true, 4, 0};
constexpr Role shared{true, true, true, 2, 2};
constexpr Role client{true, true, false, 0, 4};

LimitInput input(Role role) {
    LimitInput in;
    in.cpus_per_task = 4;
    in.mem_per_cpu_mb = 50;
    in.step_mb = 400;
    in.local_tasks = 2;
    in.role = role;
    return in;
}

MemoryOption size(std::uint64_t bytes) { return {MemoryOption::size, bytes}; }

START_TEST(test_auto) {
    ck_assert_uint_eq(worker_limits(input(whole)).memory, 200 * MB);
    ck_assert_uint_eq(worker_limits(input(shared)).memory, 100 * MB);
    ck_assert_uint_eq(worker_limits(input(shared)).task_memory, 200 * MB);
    ck_assert((worker_limits(input(client)) == WorkerLimits{}));
    auto in = input(whole);
    in.mem_per_cpu_mb = 0; // not told: the step's memory by its tasks
    ck_assert_uint_eq(worker_limits(in).memory, 200 * MB);
    in.local_tasks = 3;
    ck_assert_uint_eq(worker_limits(in).memory, 400 * MB / 3 / 4096 * 4096);
    in.step_mb = 0; // nothing known
    ck_assert_uint_eq(worker_limits(in).memory, 0);
    in.mem_per_cpu_mb = 50;
    ck_assert_uint_eq(worker_limits(in).memory, 200 * MB);
}
END_TEST

START_TEST(test_never_above_the_share) {
    auto in = input(whole);
    in.mem_per_cpu_mb = 1'000'000;
    ck_assert_uint_eq(worker_limits(in).memory, 200 * MB);
    in.mem_per_cpu_mb = UINT64_MAX;
    ck_assert_uint_eq(worker_limits(in).memory, 200 * MB);
    in.memory = size(1000 * MB);
    ck_assert_uint_eq(worker_limits(in).memory, 200 * MB);
    in.role = shared;
    ck_assert_uint_eq(worker_limits(in).memory, 100 * MB);
    in.step_mb = UINT64_MAX; // nonsense overflows to the largest number, not to a small one
    in.memory = {};
    in.mem_per_cpu_mb = 0;
    ck_assert_uint_gt(worker_limits(in).memory, std::uint64_t{1} << 50);
}
END_TEST

START_TEST(test_size) {
    auto in = input(whole);
    in.memory = size(30 * MB);
    ck_assert_uint_eq(worker_limits(in).memory, 30 * MB);
    in.role = shared; // one worker's own size, where it fits into its part
    ck_assert_uint_eq(worker_limits(in).memory, 30 * MB);
    in.step_mb = 0;
    in.memory = size(3000 * MB);
    ck_assert_uint_eq(worker_limits(in).memory, 3000 * MB);
}
END_TEST

START_TEST(test_none) {
    auto in = input(whole);
    in.memory = {MemoryOption::none, 0};
    in.cpus = CpuMode::none;
    ck_assert((worker_limits(in) == WorkerLimits{}));
}
END_TEST

// Limits that would come out as 0 must not turn into "no limit".
START_TEST(test_tiny) {
    auto in = input({true, true, true, 1, 1000});
    in.step_mb = 1;
    in.local_tasks = 1000;
    ck_assert_uint_eq(worker_limits(in).memory, 4096);
    in.local_tasks = 0;
    ck_assert_uint_gt(worker_limits(in).memory, 0);
}
END_TEST

START_TEST(test_cpu) {
    auto in = input(whole);
    ck_assert_uint_eq(worker_limits(in).cpu_quota_us, 400'000);
    in.bound = true; // Slurm's binding is enough
    ck_assert_uint_eq(worker_limits(in).cpu_quota_us, 0);
    in.cpus = CpuMode::quota;
    ck_assert_uint_eq(worker_limits(in).cpu_quota_us, 400'000);
    in.cpus = CpuMode::automatic;
    in.role = shared; // but it does not split the task
    ck_assert_uint_eq(worker_limits(in).cpu_quota_us, 200'000);
    in.cpus = CpuMode::none;
    ck_assert_uint_eq(worker_limits(in).cpu_quota_us, 0);
}
END_TEST

Suite *suite() {
    auto s = suite_create("limits");
    auto c = tcase_create("limits");
    tcase_add_test(c, test_auto);
    tcase_add_test(c, test_never_above_the_share);
    tcase_add_test(c, test_size);
    tcase_add_test(c, test_none);
    tcase_add_test(c, test_tiny);
    tcase_add_test(c, test_cpu);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

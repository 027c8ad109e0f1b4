// SPDX-License-Identifier: Apache-2.0
//
// The scheduler against a model of itself (model_world.h), by random events.
//
// A failure is reported as test_random_events:SEED. DTASK_TEST_SEED plays that
// seed again, DTASK_TEST_RUNS says how many seeds from there.
#include "tests/unit/unit.h"

#include <cstdlib>
#include <random>

#include "tests/unit/model_world.h"

using namespace dtask;
using dtask::test::World;

namespace {

START_TEST(test_random_events) { World(static_cast<std::uint64_t>(_i)).play(); }
END_TEST

int number_of(const char *variable, int otherwise) {
    const char *text = std::getenv(variable);
    return text ? std::atoi(text) : otherwise;
}

Suite *suite() {
    auto s = suite_create("model");
    auto c = tcase_create("scheduler");
    tcase_set_timeout(c, 60);
    int first = number_of("DTASK_TEST_SEED", static_cast<int>(std::random_device()() % 1'000'000));
    tcase_add_loop_test(c, test_random_events, first, first + number_of("DTASK_TEST_RUNS", 20));
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

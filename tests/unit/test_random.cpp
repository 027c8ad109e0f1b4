// SPDX-License-Identifier: Apache-2.0
//
// The scheduler's core under events at random (tests/model): clients, workers
// and time from one seed, with the invariants of core.h and the promises of the
// ledger checked after each event, and nothing left after the last.
//
//   test_random                       seeds 1 to 20, as `make check` does
//   test_random SEED [EVENTS]         that one again (also DTASK_SEED=SEED)
//   test_random --seconds N [SEED]    one seed after the other, from SEED or the time
//
// The same seed is the same sequence on each machine. What fails prints its
// seed, the number of the event, and the last events before it.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "tests/model/world.h"
#include "tests/unit/unit.h"

using namespace dtask;
using dtask::model::World;

namespace {

std::uint64_t first_seed = 1, last_seed = 20, events = 1500, seconds = 0;

// What runs now, for whoever ends this process in the middle of it.
World *now = nullptr;
std::uint64_t seed_now = 0;

void tell() {
    if (!now) return;
    std::fprintf(
        stderr, "\nseed %llu, event %llu; again: test_random %llu %llu\n",
        static_cast<unsigned long long>(seed_now), static_cast<unsigned long long>(now->events()),
        static_cast<unsigned long long>(seed_now), static_cast<unsigned long long>(events));
    for (const auto &line : now->story()) std::fprintf(stderr, "  %s\n", line.c_str());
    std::fflush(stderr);
    now = nullptr;
}

extern "C" void on_fatal(int number) {
    tell(); // not safe in a handler, and better than nothing
    std::signal(number, SIG_DFL);
    std::raise(number);
}

std::uint64_t play(std::uint64_t seed) {
    World world(seed);
    now = &world;
    seed_now = seed;
    for (std::uint64_t n = 0; n < events; n++) world.step();
    world.drain();
    now = nullptr;
    return world.events();
}

void watch() {
    test::before_failure = [](const char *) { tell(); };
    for (int number : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE}) std::signal(number, on_fatal);
}

START_TEST(test_a_seed) {
    watch();
    play(first_seed + static_cast<std::uint64_t>(_i));
}
END_TEST

START_TEST(test_for_a_while) {
    watch();
    std::uint64_t all = 0, seed = first_seed;
    auto begin = std::time(nullptr);
    auto end = begin + static_cast<std::time_t>(seconds);
    for (; std::time(nullptr) < end; seed++) all += play(seed);
    std::printf(
        "model: %llu events in %lld s, seeds %llu to %llu\n", static_cast<unsigned long long>(all),
        static_cast<long long>(std::time(nullptr) - begin),
        static_cast<unsigned long long>(first_seed), static_cast<unsigned long long>(seed - 1));
    std::fflush(stdout);
}
END_TEST

Suite *suite() {
    auto s = suite_create("random");
    auto t = tcase_create("random");
    if (seconds > 0) {
        tcase_set_timeout(t, static_cast<double>(seconds) + 120);
        tcase_add_test(t, test_for_a_while);
    } else {
        tcase_set_timeout(t, 300);
        tcase_add_loop_test(t, test_a_seed, 0, static_cast<int>(last_seed - first_seed + 1));
    }
    suite_add_tcase(s, t);
    return s;
}

bool number(const char *text, std::uint64_t &into) {
    char *end = nullptr;
    into = std::strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == 0;
}

bool read_arguments(int argc, char **argv) {
    if (const char *seed = std::getenv("DTASK_SEED")) {
        if (!number(seed, first_seed)) return false;
        last_seed = first_seed;
    }
    if (argc == 1) return true;
    if (std::strcmp(argv[1], "--seconds") == 0) {
        first_seed = static_cast<std::uint64_t>(std::time(nullptr));
        return argc <= 4 && argc >= 3 && number(argv[2], seconds) && seconds > 0 &&
               (argc == 3 || number(argv[3], first_seed));
    }
    bool ok = argc <= 3 && number(argv[1], first_seed) && (argc == 2 || number(argv[2], events));
    last_seed = first_seed;
    return ok;
}

} // namespace

namespace dtask::model {

void broken(const std::string &what) {
    abort_test("%s", what.c_str());
    std::abort();
}

} // namespace dtask::model

int main(int argc, char **argv) {
    if (!read_arguments(argc, argv)) {
        std::fprintf(stderr, "usage: test_random [SEED [EVENTS]] | --seconds N [SEED]\n");
        return 2;
    }
    return test::run(suite());
}

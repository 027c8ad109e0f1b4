// SPDX-License-Identifier: Apache-2.0
//
// Names and numbers that both ends of a step derive on their own: ports, and
// file names from patterns.
#include "tests/unit/unit.h"

#include <map>
#include <set>

#include "lib/model/pattern.h"
#include "lib/model/ports.h"

using namespace dtask::model;

namespace {

START_TEST(test_ports_are_a_function_of_the_step) {
    auto ports = candidate_ports(7, 0, 0, 0);
    ck_assert_uint_eq(ports.size(), candidate_count);
    ck_assert(ports == candidate_ports(7, 0, 0, 0));
    ck_assert(ports != candidate_ports(7, 1, 0, 0));
    ck_assert(ports != candidate_ports(8, 0, 0, 0));
    ck_assert(ports == candidate_ports(7, 0, default_first_port, default_last_port));
    // Another version of dtask must find them too: these never change.
    ck_assert((std::vector(ports.begin(), ports.begin() + 3) ==
               std::vector<std::uint16_t>{22645, 23810, 20580}));
}
END_TEST

START_TEST(test_ports_are_in_range_and_differ) {
    struct {
        std::uint16_t first, last;
        std::size_t count;
    } rows[]{{20000, 29999, 16}, {1, 65535, 16},     {50000, 50000, 1}, {50000, 50002, 3},
             {50000, 50015, 16}, {50000, 50016, 16}, {65535, 65535, 1}};
    for (auto &row : rows)
        for (std::uint32_t job = 0; job < 200; job++) {
            auto ports = candidate_ports(job, job % 3, row.first, row.last);
            std::set<std::uint16_t> different(ports.begin(), ports.end());
            ck_assert_uint_eq(ports.size(), row.count);
            ck_assert_uint_eq(different.size(), row.count);
            ck_assert_uint_ge(*different.begin(), row.first);
            ck_assert_uint_le(*different.rbegin(), row.last);
        }
}
END_TEST

// Steps that run side by side rarely want the same port first.
START_TEST(test_ports_are_spread) {
    std::map<std::uint16_t, int> firsts;
    for (std::uint32_t job = 1000; job < 1100; job++) firsts[candidate_ports(job, 0, 0, 0)[0]]++;
    ck_assert_uint_ge(firsts.size(), 95);
}
END_TEST

START_TEST(test_patterns) {
    PatternValues v{1234, 5, 6, "n1", "ann"};
    struct {
        const char *pattern, *name;
    } rows[]{
        {"", ""},
        {"plain", "plain"},
        {".dtask/%J.json", ".dtask/1234.5.json"},
        {"%j-%s-%t-%N-%u", "1234-5-6-n1-ann"},
        {"%6j.%4s.%2t", "001234.0005.06"},
        {"%2j", "1234"},
        {"%10t", "0000000006"},
        {"%99999999999999999999t", "0000000006"}, // Slurm's widest
        {"100%%", "100%"},
        {"%", "%"},
        {"%5", "%5"},
        {"%x%5x", "%x%5x"},
        {"%%j", "%j"},
        {"%6N", "n1"},
    };
    for (auto &row : rows) ck_text_eq(expand(row.pattern, v), row.name);
}
END_TEST

Suite *suite() {
    auto s = suite_create("ports");
    auto c = tcase_create("ports");
    for (auto test : {test_ports_are_a_function_of_the_step, test_ports_are_in_range_and_differ,
                      test_ports_are_spread, test_patterns})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return dtask::test::run(suite()); }

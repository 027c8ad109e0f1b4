// SPDX-License-Identifier: Apache-2.0
//
// The report at the end of a step: what workers have used in all, and what is made of it.
#include "tests/unit/unit.h"

#include <algorithm>

#include "lib/json/json.h"
#include "runtime/scheduler/report.h"
#include "runtime/scheduler/tally.h"

using namespace dtask;
using namespace dtask::scheduler;
using namespace dtask::test;

namespace {

constexpr std::uint64_t second = 1'000'000, mega = 1 << 20;

proto::Register about(std::uint64_t task) {
    proto::Register about;
    about.name = "n1." + std::to_string(task);
    about.task = task;
    about.nthreads = 4;
    about.memory_limit = 2048 * mega;
    return about;
}

START_TEST(test_tally) {
    Tally tally;
    WorkerId one{1}, again{7}, other{2};
    tally.on_stat(one, about(3), {.memory = 5 * mega, .peak = 9 * mega, .cpu_us = 100});
    tally.on_stat(other, about(1), {.memory = mega, .peak = mega, .cpu_us = 1});
    tally.on_stat(one, about(3), {.memory = 5 * mega, .peak = 6 * mega, .cpu_us = 300});
    // It was started again: its counters began anew.
    tally.on_stat(again, about(3), {.memory = 7 * mega, .peak = 7 * mega, .cpu_us = 50});
    tally.on_stat(again, about(3), {.memory = 7 * mega, .peak = 7 * mega, .cpu_us = 60});
    auto uses = tally.uses();
    ck_assert_uint_eq(uses.size(), 2);
    ck_text_eq(uses[0].worker, "n1.1");
    ck_text_eq(uses[1].worker, "n1.3");
    ck_assert_uint_eq(uses[1].cpu_us, 360);
    ck_assert_uint_eq(uses[1].peak, 9 * mega);
    ck_assert_uint_eq(uses[1].limit, 2048 * mega);
    ck_assert(!uses[1].sampled);
    auto watched = about(5);
    watched.without_group = "memory and cpus";
    tally.on_stat(WorkerId{9}, watched, {});
    ck_assert(tally.uses()[2].sampled);
}
END_TEST

// Ten minutes of two workers of four CPUs, in a step of 12.
Facts facts() {
    Facts facts;
    facts.info.id = "7.0";
    facts.info.done = 1000;
    facts.info.failed = 0;
    facts.info.busy_us = 2 * 590 * second;
    facts.wall_us = 600 * second;
    facts.cpus = 12;
    for (std::uint64_t task = 1; task <= 2; task++)
        facts.uses.push_back({.worker = "n1." + std::to_string(task),
                              .task = task,
                              .nthreads = 4,
                              .limit = 2048 * mega,
                              .peak = 2000 * mega,
                              .cpu_us = 4 * 580 * second});
    return facts;
}

bool has(const std::vector<std::string> &lines, std::string_view part) {
    return std::ranges::any_of(lines, [&](const auto &line) { return contains(line, part); });
}

START_TEST(test_a_step_that_was_well_sized) {
    auto lines = report_lines(facts());
    ck_assert_uint_eq(lines.size(), 3);
    ck_text_eq(lines[0], "step 7.0 took 10:00: 1000 tasks done, 0 failed");
    ck_text_eq(lines[1], "efficiency 64 %: 7.7 of 12 CPUs were used on average");
    ck_text_eq(lines[2], "memory: the largest peak was 2.0G of the limit of 2G, on n1.1");
}
END_TEST

START_TEST(test_memory_that_was_too_much) {
    auto few = facts();
    few.uses[1].peak = 1000 * mega;
    few.uses[0].peak = 400 * mega;
    // 1000M + a fifth on 4 CPUs.
    ck_assert(has(report_lines(few), "next time: --mem-per-cpu=300M would have been enough"));
    few.slurm = false;
    ck_assert(has(report_lines(few), "next time: --memory=1200M would have been enough"));
    few.uses[0].sampled = true;
    ck_assert(has(report_lines(few), "as far as was seen once a second"));
    ck_assert(!has(report_lines(few), "next time"));
    few = facts();
    for (auto &use : few.uses) use.peak = mega; // a worker needs more than that to start
    ck_assert(has(report_lines(few), "next time: --mem-per-cpu=20M"));
    for (auto &use : few.uses) use.limit = 0;
    ck_assert(!has(report_lines(few), "next time"));
    ck_assert(has(report_lines(few), "memory: the largest peak was 1M, on n1.1"));
    for (auto &use : few.uses) use.peak = 0;
    ck_assert(!has(report_lines(few), "memory"));
}
END_TEST

START_TEST(test_memory_that_was_too_little) {
    auto killed = facts();
    killed.info.failed = 1;
    killed.info.retried = 2;
    proto::FailureInfo failure;
    failure.kind = proto::FailureKind::memory;
    killed.info.failures.push_back(failure);
    auto lines = report_lines(killed);
    ck_text_eq(lines[0], "step 7.0 took 10:00: 1000 tasks done, 1 failed, 2 tried again");
    ck_assert(has(lines, "next time: more than 2G a worker (--mem-per-cpu): 1 task passed"));
    // No more than these are kept.
    killed.info.failures.resize(proto::Info::most_failures, failure);
    killed.info.failed = 10'000;
    ck_assert(has(report_lines(killed), ": 32 of the latest 32 failures passed the limit"));
}
END_TEST

START_TEST(test_cpus_that_were_too_many) {
    auto narrow = facts();
    for (auto &use : narrow.uses) use.cpu_us = 590 * second; // one CPU of four
    ck_assert(has(report_lines(narrow), "next time: --cpus-per-task=1 would have been enough"));
    ck_assert(has(report_lines(narrow), "--dtask-concurrency=4"));
    narrow.slurm = false;
    ck_assert(has(report_lines(narrow), "or --concurrency=4"));
    narrow.commands = true; // several at a time on a worker, as its CPUs allow
    ck_assert(!has(report_lines(narrow), "next time"));
    narrow.commands = false;
    narrow.info.busy_us = 5 * second; // hardly any
    ck_assert(!has(report_lines(narrow), "--cpus-per-task"));
    auto idle = facts();
    idle.info.busy_us = 2 * 200 * second;
    ck_assert(has(report_lines(idle), "workers had something to run for 33 % of the time"));
}
END_TEST

START_TEST(test_a_step_without_anything) {
    Facts nothing;
    nothing.info.id = "1.0";
    auto lines = report_lines(nothing);
    ck_assert_uint_eq(lines.size(), 2);
    ck_text_eq(lines[0], "step 1.0 took 0.0 s: 0 tasks done, 0 failed");
    ck_text_eq(lines[1], "efficiency 0 %: 0.0 of 0 CPUs were used on average");
    nothing.info.done = 1;
    nothing.wall_us = 3725 * second;
    ck_text_eq(report_lines(nothing)[0], "step 1.0 took 1:02:05: 1 task done, 0 failed");
}
END_TEST

// No text of a task ends the script that the data are in.
START_TEST(test_report_as_a_page) {
    auto some = facts();
    proto::FailureInfo failure;
    failure.message = "</script><script>alert(1)</script>";
    some.info.failures.push_back(failure);
    auto html = report_html(some, "{\"width_ms\":250}");
    std::string open = "<script type=\"application/json\" id=\"data\">";
    auto begin = html.find(open) + open.size();
    auto end = html.find("</script>", begin);
    auto data = must(Json::parse(html.substr(begin, end - begin)));
    ck_text_eq(must(data.strings("report"))[0], "step 7.0 took 10:00: 1000 tasks done, 0 failed");
    ck_assert_int_eq(must(data.member("timeline")).integer_or("width_ms", 0), 250);
    ck_text_eq(must(must(data.member("status")).list("failures")).at(0).string_or("message", ""),
               failure.message);
    ck_assert(!contains(html, "alert(1)</script>"));
    ck_assert(contains(report_html(some, ""), "\"timeline\":null}</script>"));
}
END_TEST

Suite *suite() {
    auto s = suite_create("report");
    auto c = tcase_create("report");
    for (auto test : {test_tally, test_a_step_that_was_well_sized, test_memory_that_was_too_much,
                      test_memory_that_was_too_little, test_cpus_that_were_too_many,
                      test_a_step_without_anything, test_report_as_a_page})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return dtask::test::run(suite()); }

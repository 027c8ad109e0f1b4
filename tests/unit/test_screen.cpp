// SPDX-License-Identifier: Apache-2.0
//
// What `dtask top` and `dtask status` show of a cluster: each line is as wide as the terminal,
// whatever names, numbers and messages there are.
#include "runtime/cli/screen.h"

#include "runtime/cli/format.h"
#include "runtime/cli/status.h"
#include "tests/unit/unit.h"

using namespace dtask;
using namespace dtask::cli;
using dtask::test::contains;

namespace {

proto::Info cluster(std::size_t workers) {
    proto::Info info;
    info.id = "12.0";
    info.engine = "native";
    info.address = "10.0.0.1:20001";
    info.uptime_ms = 3'723'000;
    info.expected = workers;
    info.clients = 1;
    info.waiting = 40;
    info.running = 8;
    info.done = 150;
    info.failed = 2;
    info.recent_ms = 10'000;
    info.recent_done = 123;
    for (std::size_t n = 0; n < workers; n++) {
        proto::WorkerInfo w;
        w.about.name = "node" + std::to_string(n) + "." + std::to_string(n);
        w.about.node = "node" + std::to_string(n);
        w.about.nthreads = 4;
        w.about.memory_limit = 200 << 20;
        w.memory = (n % 10) * (22 << 20);
        w.cpu = 390;
        w.running = 2;
        w.done = 17;
        w.tasks = {{"solve-" + std::to_string(n), 5, n, 12'000}};
        info.workers.push_back(w);
    }
    info.failures = {{{"solve-3", 5, 3, 3'700'000},
                      proto::FailureKind::raised,
                      "ValueError: no\nsecond \x1b[31m line",
                      "node0.0",
                      "node0",
                      1}};
    return info;
}

std::string plain(const std::string &line) {
    std::string text;
    for (std::size_t n = 0; n < line.size(); n++) {
        if (line[n] == '\x1b')
            n = line.find('m', n);
        else
            text += line[n];
    }
    return text;
}

START_TEST(test_each_line_is_as_wide_as_the_terminal) {
    auto few = cluster(3), many = cluster(500);
    many.workers[0].about.name = "Rechenknoten-größer.日本.0";
    many.workers[1].tasks[0].name = "日本日本日本日本日本日本日本日本日本日本-1";
    many.workers[2].memory = UINT64_MAX;
    many.workers[2].cpu = UINT64_MAX;
    many.workers[2].done = UINT64_MAX;
    for (const auto &info : {proto::Info(), few, many})
        for (std::size_t columns : {1, 10, 40, 79, 80, 81, 119, 120, 200, 300})
            for (std::size_t rows : {1, 2, 5, 6, 10, 24, 60})
                for (bool colour : {false, true}) {
                    auto lines = screen(info, {columns, rows, colour});
                    ck_assert_uint_eq(lines.size(), rows);
                    for (const auto &line : lines) {
                        if (!colour) ck_assert(!contains(line, "\x1b"));
                        auto width = columns_of(plain(line));
                        ck_assert_msg(width == columns, "%zu columns in place of %zu: %s", width,
                                      columns, line.c_str());
                    }
                }
}
END_TEST

START_TEST(test_what_it_shows) {
    auto lines = screen(cluster(3), {80, 24});
    ck_contains(lines[0], "cluster 12.0 (native)  up 1:02:03  3 of 3 workers  1 client");
    ck_contains(lines[1], "40 waiting  8 running  150 done  2 failed  0 retried  12.3/s");
    ck_contains(lines[2], "] 76 %");
    ck_contains(lines[4], "WORKER");
    ck_contains(lines[6], "node1.1");
    ck_contains(lines[6], "3.9/4");
    ck_contains(lines[6], "22M/200M");
    ck_contains(lines[6], "solve-1 12 s +1");
    ck_contains(lines[22],
                "failed: solve-3 raised: ValueError: no second ?[31m line (node0.0, 23 s");
    ck_contains(lines[23], "q quits");
    ck_assert(!contains(lines[23], "scroll"));
    ck_contains(screen(cluster(3), {200, 60})[6], "[##-");
    auto coloured = screen(cluster(10), {80, 24, true});
    ck_contains(coloured[4], "\x1b[7m");
    ck_contains(coloured[14], "\x1b[31m"); // the one at 99 %
}
END_TEST

START_TEST(test_scrolling) {
    auto info = cluster(100);
    View view{80, 24};
    auto room = room_for_workers(info, view);
    ck_assert_uint_eq(room, 17);
    ck_contains(screen(info, view)[23], "workers 1 to 17 of 100");
    view.first = 50;
    ck_contains(screen(info, view)[5], "node50.50");
    view.first = 1'000; // workers have gone meanwhile
    ck_contains(screen(info, view)[23], "workers 84 to 100 of 100");
    ck_contains(screen(info, view)[5 + room - 1], "node99.99");
}
END_TEST

START_TEST(test_the_table) {
    auto text = table(cluster(2), "node0");
    ck_contains(text, "cluster 12.0 (native) at 10.0.0.1:20001 on node0, up 1:02:03\n");
    ck_contains(text, "solve-1 12 s +1\n");
    ck_contains(text, "failed: solve-3 raised: ValueError: no second ?[31m line");
    ck_assert(!contains(text, "\x1b"));
}
END_TEST

START_TEST(test_spans_and_texts) {
    for (auto [ms, text] : {std::pair<std::uint64_t, const char *>{0, "0.0 s"},
                            {9'999, "9.9 s"},
                            {10'000, "10 s"},
                            {59'999, "59 s"},
                            {60'000, "1:00"},
                            {3'599'999, "59:59"},
                            {3'600'000, "1:00:00"},
                            {90'061'000, "1d 01:01:01"}})
        ck_text_eq(span(ms), text);
    ck_text_eq(printable("a\tb\nc\x01\xff\xc3\xa4"), "a b c??\xc3\xa4");
    ck_text_eq(fit("日本", 3), "日 ");
    ck_text_eq(fit("ab", 4), "ab  ");
    proto::Info info;
    ck_text_eq(rate(info), "0.0/s");
    info.recent_ms = 500;
    info.recent_done = 1'000;
    ck_text_eq(rate(info), "2000/s");
}
END_TEST

Suite *suite() {
    auto s = suite_create("screen");
    auto t = tcase_create("screen");
    for (auto test : {test_each_line_is_as_wide_as_the_terminal, test_what_it_shows, test_scrolling,
                      test_the_table, test_spans_and_texts})
        tcase_add_test(t, test);
    suite_add_tcase(s, t);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
//
// What the scheduler tells of its state and of what has been: `info` and history.h.
#include "runtime/scheduler/history.h"

#include "lib/model/command.h"
#include "lib/proto/error_text.h"
#include "tests/unit/fixtures.h"
#include "tests/unit/stage.h"

using namespace dtask;
using namespace dtask::scheduler;
using dtask::proto::FailureKind;
using dtask::test::Graph;
using dtask::test::must;
using dtask::test::Stage;

namespace {

// The error that tests/fixtures/protocol/make.py pickles: ValueError("no").
std::string pickled_error() {
    auto frames = must(test::fixture_index().member("frames"));
    for (std::size_t n = 0; n < frames.size(); n++)
        if (must(frames.at(n).string("file")) == "failed-raised.frame")
            return test::bytes_of(frames.at(n), "payload");
    ck_abort_msg("the fixture is not there");
}

void over(Stage &s) {
    s.comm.take_runs();
    s.comm.take_results();
    s.comm.take_failures();
    s.comm.take_functions();
    s.comm.take_counts();
    s.over();
}

START_TEST(test_errors_are_read_without_python) {
    auto error = proto::read_error(pickled_error());
    ck_assert(error.has_value());
    ck_text_eq(error->type, "ValueError");
    ck_text_eq(error->message, "no");
    ck_text_eq(error->traceback, "Traceback …\nValueError: no\n");
    // Whatever else it may be is none, at whatever byte it ends.
    auto whole = pickled_error();
    for (std::size_t n = 0; n < whole.size(); n++)
        ck_assert(!proto::read_error(std::string_view(whole).substr(0, n)));
    for (auto other :
         {"", "\x80\x05N.", "(NNNNNt.", "\x8c\xff", "X\xff\xff\xff\xff", "h\x05.", "q"})
        ck_assert(!proto::read_error(other));
}
END_TEST

START_TEST(test_what_a_failure_says) {
    proto::Failure failure;
    failure.kind = FailureKind::raised;
    failure.payload = pickled_error();
    auto told = describe("f-1", false, failure);
    ck_text_eq(told.message, "ValueError: no");
    ck_text_eq(told.detail, "Traceback …\nValueError: no\n");
    model::Ended ended;
    ended.exit = 3;
    ended.errors = "no such model\n";
    failure.payload = ended.encode();
    told = describe("sim-1", true, failure);
    ck_text_eq(told.message, "exit code 3");
    ck_text_eq(told.detail, "no such model\n");
    ended.signal = 11;
    failure.payload = ended.encode();
    ck_contains(describe("sim-1", true, failure).message, "signal 11");
    failure.kind = FailureKind::timeout;
    failure.message = "sim-1: it ran longer than 1 s";
    ck_text_eq(describe("sim-1", true, failure).message, "it ran longer than 1 s");
    failure.kind = FailureKind::raised;
    failure.payload = "what no Python and no worker of ours writes";
    failure.message = "";
    ck_text_eq(describe("f-1", false, failure).message, "");
    ck_text_eq(describe("f-1", true, failure).message, "");
}
END_TEST

START_TEST(test_history_is_bounded) {
    History history;
    for (std::uint64_t n = 0; n < 3 * History::most_failures; n++) {
        Failed failed;
        failed.key = n;
        failed.message.assign(History::most_message - 1, 'a');
        failed.message += "ü and more"; // which is not cut in two
        failed.detail.assign(2 * History::most_detail, 'b');
        failed.detail += "the end";
        history.add(std::move(failed));
    }
    ck_assert_uint_eq(history.failures().size(), History::most_failures);
    ck_assert_uint_eq(history.failures().back().key, 3 * History::most_failures - 1);
    const auto &last = history.failures().back();
    ck_text_eq(last.message, std::string(History::most_message - 1, 'a') + "...");
    ck_assert_uint_eq(last.detail.size(), History::most_detail);
    ck_assert(last.detail.ends_with("bthe end"));

    ck_assert_int_eq(history.recent(5'000'000, 7).us, 0); // nothing is known yet
    for (std::int64_t second = 0; second <= 100; second++)
        history.tick(second * 1'000'000, static_cast<std::uint64_t>(second) * 3);
    auto recent = history.recent(100'500'000, 301);
    ck_assert_int_eq(recent.us, 10'500'000);
    ck_assert_uint_eq(recent.done, 31);
}
END_TEST

START_TEST(test_workers_and_what_they_run) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker(2);
    s.submit(client, 7, 3);
    s.dispatch();
    auto runs = s.comm.take_runs(worker);
    on_stat(s.reactor(), worker, {.memory = 10, .peak = 30, .cpu_us = 500'000});
    s.clock.advance(1'000'000);
    proto::Stat stat{.memory = 20, .peak = 30, .cpu_us = 2'000'000};
    stat.k = {runs[0].task.value, runs[1].task.value};
    stat.i = {runs[0].instance.value, runs[1].instance.value + 1}; // that is not this dispatch
    stat.us = {900'000, 5'000};
    on_stat(s.reactor(), worker, stat);
    s.clock.advance(250'000);
    auto told = info(s.core, s.clock).workers.at(0);
    ck_assert_uint_eq(told.memory, 20);
    ck_assert_uint_eq(told.peak, 30);
    ck_assert_uint_eq(told.cpu, 150);
    ck_assert_uint_eq(told.cpu_us, 2'000'000);
    ck_assert_uint_eq(told.heard_ms, 250);
    ck_assert_uint_eq(told.running, 2);
    ck_assert_uint_eq(told.tasks.size(), 2);
    ck_text_eq(told.tasks[0].name, "f-7");
    ck_assert_uint_eq(told.tasks[0].k, 7);
    ck_assert_uint_eq(told.tasks[0].client, client.value);
    ck_assert_uint_eq(told.tasks[0].ms, 1'150);
    ck_assert_uint_eq(told.tasks[1].ms, 0);
    // What a worker says may be anything.
    stat.us = {UINT64_MAX, UINT64_MAX};
    stat.cpu_us = 1; // less than before
    on_stat(s.reactor(), worker, stat);
    told = info(s.core, s.clock).workers.at(0);
    ck_assert_uint_eq(told.cpu, 0);
    for (const auto &run : runs) s.done(run);
    ck_assert(info(s.core, s.clock).workers.at(0).tasks.size() < 2);
    over(s);
}
END_TEST

START_TEST(test_failures_and_totals) {
    Stage s;
    auto client = s.client_with_function();
    auto worker = s.worker();
    s.submit(client, 1, 1, 1, 1); // with a retry
    s.dispatch();
    auto raise = [&] {
        auto run = s.comm.take_runs(worker).at(0);
        auto payload = pickled_error();
        must(on_done(
            s.reactor(), worker,
            {{run.task.value}, {run.instance.value}, {1'500}, {1}, {payload.size()}, payload}));
        s.dispatch();
    };
    raise();
    ck_assert_uint_eq(info(s.core, s.clock).retried, 1);
    ck_assert(info(s.core, s.clock).failures.empty());
    s.clock.advance(2'000'000);
    raise();
    auto told = info(s.core, s.clock);
    ck_assert_uint_eq(told.failed, 1);
    ck_assert_uint_eq(told.retried, 1);
    ck_assert_uint_eq(told.busy_us, 3'000);
    ck_assert_uint_eq(told.failures.size(), 1);
    ck_text_eq(told.failures[0].task.name, "f-1");
    ck_assert_uint_eq(told.failures[0].task.ms, 2'000);
    ck_text_eq(told.failures[0].message, "ValueError: no");
    ck_text_eq(told.failures[0].worker, "n0.0");
    // Those that need its value fail with it, and are not told as failures of their own.
    must(on_graph(s.reactor(), client,
                  Graph().task(10).task(11, {10}, true).task(12, {11}, true).complete().message));
    s.dispatch();
    raise();
    told = info(s.core, s.clock);
    ck_assert_uint_eq(told.failed, 4);
    ck_assert_uint_eq(told.failures.size(), 2);
    ck_text_eq(told.failures[1].task.name, "f-10");
    over(s);
}
END_TEST

START_TEST(test_the_latest_failures_only) {
    Stage s;
    auto client = s.client_with_function();
    s.core.settings.expected = 1;
    s.submit(client, 1, 100);
    on_unfit(s.reactor(), {"n0", "no Python", 0});
    s.dispatch();
    auto told = info(s.core, s.clock);
    ck_assert_uint_eq(told.failed, 100);
    ck_assert_uint_eq(told.failures.size(), 32);
    ck_assert_uint_eq(told.failures.back().task.k, 100);
    over(s);
}
END_TEST

Suite *suite() {
    auto s = suite_create("history");
    auto t = tcase_create("history");
    for (auto test :
         {test_errors_are_read_without_python, test_what_a_failure_says, test_history_is_bounded,
          test_workers_and_what_they_run, test_failures_and_totals, test_the_latest_failures_only})
        tcase_add_test(t, test);
    suite_add_tcase(s, t);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

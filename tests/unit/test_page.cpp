// SPDX-License-Identifier: Apache-2.0
//
// The page of a cluster: who may see it, what it answers, and the timeline that it shows.
#include "tests/unit/unit.h"

#include <algorithm>

#include "lib/json/json.h"
#include "lib/proto/codec.h"
#include "lib/proto/digest.h"
#include "runtime/scheduler/page.h"
#include "runtime/scheduler/timeline.h"
#include "tests/fakes/clock.h"

using namespace dtask;
using namespace dtask::scheduler;
using namespace dtask::test;

namespace {

const std::string digits(64, 'a');

struct Desk {
    proto::Token token = must(proto::Token::from_hex(digits));
    fakes::ManualClock clock;
    int infos = 0;
    proto::Info info;
    Page page{token,
              clock,
              {.info =
                   [this] {
                       infos++;
                       return info;
                   },
               .timeline = [] { return std::string("{\"width_ms\":250}"); }}};
    std::string key = proto::derive(token, "page");

    Desk() { page.set_port(20001); }

    http::Response ask(const std::string &target, const std::string &headers = "") {
        http::Request request;
        ck_assert_int_eq(http::parse("GET " + target + " HTTP/1.1\r\n" + headers + "\r\n", request),
                         200);
        return page.answer(request);
    }
    static std::string header(const http::Response &response, std::string_view name) {
        for (const auto &[key, value] : response.headers)
            if (key == name) return value;
        return "";
    }
};

START_TEST(test_keys) {
    auto token = must(proto::Token::from_hex(digits));
    auto key = proto::derive(token, "page");
    ck_assert_uint_eq(key.size(), 32);
    ck_assert(key == proto::derive(token, "page"));
    ck_assert(key != proto::derive(token, "page cookie"));
    ck_assert(key != proto::derive(must(proto::Token::from_hex(std::string(64, 'b'))), "page"));
    ck_assert(!contains(digits, key));
    ck_assert(proto::same_secret("abc", "abc"));
    for (auto other : {"", "ab", "abd", "abcd"}) ck_assert(!proto::same_secret("abc", other));
    // As everybody else makes it: `printf abc | openssl dgst -sha256 -binary | base64`.
    ck_text_eq(proto::sha256_base64("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
}
END_TEST

START_TEST(test_strangers_see_nothing) {
    Desk desk;
    auto wrong = std::string(32, '0');
    for (std::string target : {"/", "/status", "/timeline", "/metrics", "/nothing"})
        for (std::string headers :
             {std::string(), "Authorization: Bearer " + wrong + "\r\n",
              std::string("Authorization: Bearer \r\n"),
              "Authorization: Basic " + desk.key + "\r\n",
              "Authorization: Bearer " + digits + "\r\n", // the cluster's own token is no key
              "Authorization: Bearer " + desk.key + "0\r\n",
              "Cookie: dtask_page_20001=" + wrong + "\r\n",
              "Cookie: dtask_page_20001=" + desk.key + "\r\n",
              std::string("Cookie: dtask_page_20001=\r\n"),
              "Cookie: dtask_page=" + proto::derive(desk.token, "page cookie") + "\r\n"}) {
            auto response = desk.ask(target, headers);
            ck_assert_int_eq(response.status, 401);
            ck_assert(!response.trusted);
            ck_text_eq(Desk::header(response, "Set-Cookie"), "");
            ck_contains(Desk::header(response, "WWW-Authenticate"), "Bearer");
        }
    for (std::string query : {"?token=" + wrong, "?token=" + digits, std::string("?token=x"),
                              "?token=" + desk.key + "0", "?Token=" + desk.key})
        ck_assert_int_eq(desk.ask("/" + query).status, 401);
    // A wrong token is not made good by what comes with it.
    ck_assert_int_eq(
        desk.ask("/?token=" + wrong, "Authorization: Bearer " + desk.key + "\r\n").status, 401);
    ck_assert_int_eq(desk.infos, 0);
}
END_TEST

START_TEST(test_the_key_becomes_a_cookie) {
    Desk desk;
    ck_text_eq(desk.page.url("10.0.0.1", 20001), "http://10.0.0.1:20001/?token=" + desk.key);
    auto response = desk.ask("/?token=" + desk.key);
    ck_assert_int_eq(response.status, 303);
    ck_text_eq(Desk::header(response, "Location"), "/");
    auto cookie = Desk::header(response, "Set-Cookie");
    ck_assert(cookie.starts_with("dtask_page_20001="));
    ck_contains(cookie, "; Path=/; HttpOnly; SameSite=Strict");
    ck_assert(!contains(cookie, desk.key));
    ck_text_eq(Desk::header(desk.ask("/status?a=1&token=" + desk.key + "&b=2"), "Location"),
               "/status?a=1&b=2");
    // Not to another host.
    ck_text_eq(Desk::header(desk.ask("//evil.example/?token=" + desk.key), "Location"), "/");
    response = desk.ask("/", "Cookie: x=y; " + cookie.substr(0, cookie.find(';')) + "\r\n");
    ck_assert_int_eq(response.status, 200);
    ck_assert(response.trusted);
    ck_text_eq(response.type, "text/html; charset=utf-8");
}
END_TEST

START_TEST(test_what_viewers_get) {
    Desk desk;
    desk.info.id = "7.0";
    desk.info.done = 41;
    auto bearer = "Authorization: Bearer " + desk.key + "\r\n";
    for (std::string target : {"/", "/status", "/timeline", "/metrics", "/nothing"}) {
        auto response = desk.ask(target, bearer);
        ck_assert_int_eq(response.status, target == "/nothing" ? 404 : 200);
        ck_assert(response.trusted);
        ck_text_eq(Desk::header(response, "Cache-Control"), "no-store");
        ck_text_eq(Desk::header(response, "X-Content-Type-Options"), "nosniff");
        ck_text_eq(Desk::header(response, "Referrer-Policy"), "no-referrer");
    }
    auto status = must(Json::parse(desk.ask("/status", bearer).body));
    ck_text_eq(status.string_or("id", ""), "7.0");
    ck_text_eq(status.indented(), proto::encode(desk.info).header.indented());
    ck_text_eq(desk.ask("/timeline", bearer).body, "{\"width_ms\":250}");
}
END_TEST

// What is shown is made twice a second, whoever asks however often.
START_TEST(test_answers_are_kept_for_a_moment) {
    Desk desk;
    auto bearer = "Authorization: Bearer " + desk.key + "\r\n";
    for (int n = 0; n < 100; n++) desk.ask("/status", bearer);
    ck_assert_int_eq(desk.infos, 1);
    desk.info.done = 5;
    desk.clock.advance(499'999);
    desk.ask("/status", bearer);
    ck_assert_int_eq(desk.infos, 1);
    desk.clock.advance(1);
    auto status = must(Json::parse(desk.ask("/status", bearer).body));
    ck_assert_int_eq(desk.infos, 2);
    ck_assert_int_eq(must(status.member("tasks")).integer_or("done", 0), 5);
}
END_TEST

// The policy names the one script and the one style that are in the page, by their digests.
START_TEST(test_nothing_comes_from_elsewhere) {
    Desk desk;
    auto response = desk.ask("/", "Authorization: Bearer " + desk.key + "\r\n");
    auto policy = Desk::header(response, "Content-Security-Policy");
    ck_contains(policy, "default-src 'none'; connect-src 'self'; img-src data:; ");
    ck_contains(policy, "frame-ancestors 'none'");
    ck_assert(!contains(policy, "unsafe"));
    for (std::string tag : {"script", "style"}) {
        auto open = "<" + tag + ">", close = "</" + tag + ">";
        auto begin = response.body.find(open);
        ck_assert(begin != std::string::npos);
        ck_assert(response.body.find(open, begin + 1) == std::string::npos);
        auto end = response.body.find(close, begin);
        begin += open.size();
        ck_contains(policy, tag + "-src 'sha256-" +
                                proto::sha256_base64(
                                    std::string_view(response.body).substr(begin, end - begin)) +
                                "'");
    }
    for (auto wrong : {"src=\"http", "href=\"http", "@import", "url(", "innerHTML", "outerHTML",
                       "insertAdjacent", "document.write", "eval(", " style=\"", " onclick"})
        if (contains(response.body, wrong)) ck_abort_msg("the page has %s", wrong);
}
END_TEST

START_TEST(test_metrics) {
    proto::Info info;
    info.id = "7.0";
    info.engine = "native";
    info.done = 12;
    info.failed = 3;
    info.waiting = 4;
    info.uptime_ms = 1500;
    proto::WorkerInfo worker;
    worker.about.name = "a\"b\\c\nd";
    worker.about.node = "n1";
    worker.memory = 4096;
    worker.cpu_us = 2'500'000;
    info.workers.push_back(worker);
    auto text = metrics(info, 0.25);
    for (auto line :
         {"dtask_info{id=\"7.0\",engine=\"native\"} 1\n", "dtask_uptime_seconds 1.5\n",
          "dtask_workers 1\n", "dtask_tasks{state=\"waiting\"} 4\n",
          "dtask_tasks_ended_total{outcome=\"done\"} 12\n",
          "dtask_tasks_ended_total{outcome=\"failed\"} 3\n", "process_cpu_seconds_total 0.25\n",
          "dtask_worker_memory_bytes{worker=\"a\\\"b\\\\c\\nd\",node=\"n1\"} 4096\n",
          "dtask_worker_cpu_seconds_total{worker=\"a\\\"b\\\\c\\nd\",node=\"n1\"} 2.5\n",
          "# TYPE dtask_tasks_ended_total counter\n"})
        ck_contains(text, line);
    // Each family is described once, before its values.
    std::size_t families = 0;
    for (std::size_t at = 0; (at = text.find("# TYPE ", at)) != text.npos; at++) families++;
    std::size_t helps = 0;
    for (std::size_t at = 0; (at = text.find("# HELP ", at)) != text.npos; at++) helps++;
    ck_assert_uint_eq(families, helps);
    ck_assert_uint_eq(families, 18);
}
END_TEST

constexpr std::int64_t second = 1'000'000;

Json timeline_json(const Timeline &timeline, std::int64_t now) {
    return must(Json::parse(timeline.json(now)));
}

std::string cells(const Timeline &timeline, std::size_t lane, std::int64_t now) {
    return must(timeline_json(timeline, now).list("lanes")).at(lane).string_or("cells", "");
}

START_TEST(test_timeline_samples) {
    Timeline timeline;
    ck_assert_int_eq(Timeline::first_width_us, second / 4);
    timeline.sample(0, {.tasks = 5, .done = 1, .waiting = 4});
    timeline.sample(second / 8, {.tasks = 5, .done = 2, .waiting = 3});
    timeline.sample(second, {.tasks = 5, .done = 5, .running = 2});
    auto json = timeline_json(timeline, second + 1);
    ck_assert_int_eq(json.integer_or("width_ms", 0), 250);
    ck_assert_int_eq(json.integer_or("now_ms", 0), 1000);
    // Spans that nobody sampled have what was before.
    ck_assert((must(json.column("done")) == Json::Column{2, 2, 2, 2, 5}));
    ck_assert((must(json.column("waiting")) == Json::Column{4, 4, 4, 4, 0}));
    ck_assert((must(json.column("running")) == Json::Column{0, 0, 0, 0, 2}));
}
END_TEST

START_TEST(test_timeline_is_bounded) {
    Timeline timeline;
    auto lane = timeline.lane("w");
    auto f = timeline.function("f");
    std::int64_t year = 365LL * 86'400 * second;
    std::uint64_t done = 0;
    for (std::int64_t now = 0; now < year; now += year / 5000) {
        timeline.ended(now, lane, f, 1000, false);
        timeline.sample(now, {.done = ++done});
        ck_assert_uint_le(timeline.buckets(), Timeline::most_buckets);
    }
    ck_assert_uint_gt(timeline.buckets(), Timeline::most_buckets / 2 - 1);
    auto column = must(timeline_json(timeline, year).column("done"));
    ck_assert_uint_eq(column.back(), done);
    ck_assert(std::is_sorted(column.begin(), column.end()));
    for (int n = 0; n < 3000; n++) timeline.lane("w" + std::to_string(n));
    ck_assert_uint_eq(timeline.lanes(), Timeline::most_lanes);
    ck_assert_uint_eq(timeline.lane("one more"), Timeline::none);
    ck_assert_uint_eq(timeline.lane("w"), lane);
    timeline.ended(year, Timeline::none, f, 5, false); // nowhere
    for (int n = 0; n < 100; n++) timeline.function("g" + std::to_string(n));
    auto functions = must(timeline_json(timeline, year).strings("functions"));
    ck_assert_uint_eq(functions.size(), Timeline::most_functions);
    ck_text_eq(functions.front(), "f");
    ck_text_eq(functions.back(), Timeline::others);
    ck_assert_uint_eq(timeline.function("yet another"), Timeline::most_functions - 1);
    ck_assert_uint_eq(timeline.function("f"), f);
    ck_assert_uint_lt(timeline.json(year).size(), 2'000'000);
}
END_TEST

START_TEST(test_timeline_lanes) {
    Timeline timeline;
    auto one = timeline.lane("one"), two = timeline.lane("two");
    auto f = timeline.function("f"), g = timeline.function("g");
    // A call of a second ends at 1.5 s: it was busy from 0.5 s on.
    timeline.ended(second * 3 / 2, one, f, second, false);
    ck_text_eq(cells(timeline, one, second * 3 / 2), ". . a9a9a9a9. ");
    // A tenth of a span, and a failure of which no time is known.
    timeline.ended(second / 4, two, g, 25'000, false);
    timeline.ended(second * 5 / 8, two, g, 0, true);
    ck_text_eq(cells(timeline, two, second), "b1. B0");
    // The function of most of the time gives its name.
    timeline.ended(second / 2 - 1, two, f, 200'000, false);
    ck_text_eq(cells(timeline, two, second), "b1a8B0");
    // What took longer than the step is old began with it.
    timeline.ended(second, two, g, 3600 * second, false);
    ck_text_eq(cells(timeline, two, second).substr(0, 4), "b9b9");
}
END_TEST

START_TEST(test_timeline_halves) {
    Timeline timeline;
    auto lane = timeline.lane("w");
    auto f = timeline.function("f"), g = timeline.function("g");
    timeline.ended(Timeline::first_width_us - 1, lane, f, 100'000, true);
    timeline.ended(2 * Timeline::first_width_us - 1, lane, g, 200'000, false);
    ck_text_eq(cells(timeline, lane, 0), "A4b8");
    timeline.sample(Timeline::first_width_us * static_cast<std::int64_t>(Timeline::most_buckets),
                    {});
    ck_assert_int_eq(timeline.width_us(), 2 * Timeline::first_width_us);
    ck_text_eq(cells(timeline, lane, 0), "B6");
}
END_TEST

START_TEST(test_timeline_names) {
    Timeline timeline;
    auto lane = timeline.lane(std::string(100, 'w'));
    ck_assert_uint_eq(lane, timeline.lane(std::string(100, 'w')));
    timeline.function(std::string(Timeline::longest_name - 1, 'f') + "\u00e4\u00e4");
    timeline.function("<\"\\\n>");
    auto json = timeline_json(timeline, 0);
    auto functions = must(json.strings("functions"));
    ck_text_eq(functions[0], std::string(Timeline::longest_name - 1, 'f'));
    ck_text_eq(functions[1], "<\"\\\n>");
    ck_text_eq(must(json.list("lanes")).at(0).string_or("worker", ""),
               std::string(Timeline::longest_name, 'w'));
    timeline.ended(-5, lane, 0, 5, false); // before the beginning is at it
    timeline.sample(-5, {});
    ck_assert_uint_eq(timeline.buckets(), 1);
}
END_TEST

Suite *suite() {
    auto s = suite_create("page");
    auto c = tcase_create("page");
    for (auto test :
         {test_keys, test_strangers_see_nothing, test_the_key_becomes_a_cookie,
          test_what_viewers_get, test_answers_are_kept_for_a_moment,
          test_nothing_comes_from_elsewhere, test_metrics, test_timeline_samples,
          test_timeline_is_bounded, test_timeline_lanes, test_timeline_halves, test_timeline_names})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return dtask::test::run(suite()); }

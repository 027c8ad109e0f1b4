// SPDX-License-Identifier: Apache-2.0
//
// lib/http: the parser of requests, and the server against viewers and strangers.
#include "tests/unit/unit.h"

#include <functional>
#include <memory>
#include <vector>

#include "lib/base/net.h"
#include "lib/http/server.h"
#include "tests/unit/wait.h"

using namespace dtask;
using namespace dtask::test;

namespace {

std::string lines(std::initializer_list<std::string_view> all) {
    std::string text;
    for (auto line : all) text.append(line).append("\r\n");
    return text;
}

START_TEST(test_a_request) {
    http::Request request;
    auto head = lines({"GET /a/b?x=1&token=abc HTTP/1.1", "Host: n1:20000", "COOKIE: a=1; b=2",
                       "Accept:  */* ", ""});
    ck_assert_uint_eq(http::head_size(head + "more"), head.size());
    ck_assert_int_eq(http::parse(head, request), 200);
    ck_text_eq(request.path, "/a/b");
    ck_text_eq(request.query, "x=1&token=abc");
    ck_text_eq(request.header("cookie"), "a=1; b=2");
    ck_text_eq(request.header("accept"), "*/*");
    ck_text_eq(request.header("none"), "");
    ck_assert(request.keep_alive);
    ck_assert_int_eq(http::parse(lines({"GET / HTTP/1.0", ""}), request), 200);
    ck_assert(!request.keep_alive);
    ck_assert_int_eq(http::parse(lines({"GET / HTTP/1.1", "Connection: x, Close", ""}), request),
                     200);
    ck_assert(!request.keep_alive);
}
END_TEST

START_TEST(test_what_is_no_request) {
    struct {
        std::string head;
        int status;
    } rows[]{
        {"", 400},
        {"\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n", 400},
        {"GET / HTTP/1.1\n\n", 400},
        {lines({"GET /", ""}), 400},
        {lines({"GET  / HTTP/1.1", ""}), 400},
        {lines({"GET / HTTP/1.1 x", ""}), 400},
        {lines({"GET a HTTP/1.1", ""}), 400},
        {lines({"GET http://h/ HTTP/1.1", ""}), 400},
        {lines({"GET /\x01 HTTP/1.1", ""}), 400},
        {lines({"GET /\xc3\xa4 HTTP/1.1", ""}), 400},
        {lines({"G@T / HTTP/1.1", ""}), 400},
        {lines({"dtask-1", ""}), 400},
        {lines({"GET / HTTQ/1.1", ""}), 400},
        {lines({"GET / HTTP/2.0", ""}), 505},
        {lines({"GET / HTTP/9.9", ""}), 505},
        {lines({"POST / HTTP/1.1", ""}), 405},
        {lines({"HEAD / HTTP/1.1", ""}), 405},
        {lines({"get / HTTP/1.1", ""}), 405},
        {lines({"GET / HTTP/1.1", "no colon", ""}), 400},
        {lines({"GET / HTTP/1.1", ": no name", ""}), 400},
        {lines({"GET / HTTP/1.1", "a : b", ""}), 400},
        {lines({"GET / HTTP/1.1", "a: b", " folded", ""}), 400},
        {lines({"GET / HTTP/1.1", "a: b\x01", ""}), 400},
        {lines({"GET / HTTP/1.1", "a: b\rc", ""}), 400},
        {lines({"GET / HTTP/1.1", "Content-Length: 5", ""}), 413},
        {lines({"GET / HTTP/1.1", "Content-Length: 0", ""}), 200},
        {lines({"GET / HTTP/1.1", "Content-Length: -1", ""}), 400},
        {lines({"GET / HTTP/1.1", "Content-Length: 0", "content-length: 7", ""}), 413},
        {lines({"GET / HTTP/1.1", "Transfer-Encoding: chunked", ""}), 413},
        {lines({"GET / HTTP/1.1", "a: " + std::string(http::most_head, 'x'), ""}), 431},
    };
    for (auto &row : rows) {
        http::Request request;
        int status = http::parse(row.head, request);
        if (status != row.status)
            ck_abort_msg("%d instead of %d: %s", status, row.status, row.head.c_str());
    }
    std::string many = "GET / HTTP/1.1\r\n";
    for (std::size_t n = 0; n < http::most_headers; n++) many += "a: b\r\n";
    http::Request request;
    ck_assert_int_eq(http::parse(many + "\r\n", request), 200);
    ck_assert_int_eq(http::parse(many + "a: b\r\n\r\n", request), 431);
}
END_TEST

START_TEST(test_values_in_queries_and_cookies) {
    ck_text_eq(http::query_value("token=x&a=1", "token"), "x");
    ck_text_eq(http::query_value("a=1&token=x=y", "token"), "x=y");
    ck_text_eq(http::query_value("xtoken=1&token", "token"), "");
    ck_text_eq(http::query_value("", "token"), "");
    ck_text_eq(http::query_value("token=", "token"), "");
    ck_text_eq(http::cookie_value("a=1; dtask=2;b=3", "dtask"), "2");
    ck_text_eq(http::cookie_value("dtask_1=x; dtask=2", "dtask"), "2");
    ck_text_eq(http::cookie_value(";;=;dtask", "dtask"), "");
    ck_text_eq(http::bearer("Bearer abc"), "abc");
    ck_text_eq(http::bearer("bearer  abc "), "abc");
    ck_text_eq(http::bearer("Basic abc"), "");
    ck_text_eq(http::bearer("Bearer"), "");
    ck_text_eq(http::bearer(""), "");
}
END_TEST

// A server that trusts who asks for /mine, and what its peers hear of it.
struct House {
    ev::Loop loop;
    std::unique_ptr<http::Server> server;
    int asked = 0;

    explicit House(http::Limits limits = {}) {
        auto handler = [this](const http::Request &request) {
            asked++;
            http::Response response;
            response.body = request.path == "/large" ? std::string(3'000'000, 'x') : request.path;
            response.trusted = request.path != "/stranger";
            response.status = response.trusted ? 200 : 401;
            return response;
        };
        server = must(http::Server::listen(loop, "127.0.0.1", {0}, handler, limits));
    }
};

struct Peer {
    std::string heard, why;
    bool closed = false;
    std::unique_ptr<ev::Stream> stream;

    Peer(House &house, std::string_view says) {
        auto address = join_address("127.0.0.1", house.server->port());
        stream = std::make_unique<ev::Stream>(
            house.loop, must(ev::begin_connect(address)),
            ev::Stream::Callbacks{.on_data = [this] { heard += stream->take(stream->available()); },
                                  .on_closed =
                                      [this](const std::string &text) {
                                          why = text;
                                          closed = true;
                                      }});
        stream->write(says);
    }
    bool has(std::string_view text) const { return contains(heard, text); }
};

void await(House &house, const char *what, const std::function<bool()> &come) {
    wait_for(house.loop, what, come, 60'000);
}

constexpr std::string_view ask_mine = "GET /mine HTTP/1.1\r\n\r\n",
                           ask_stranger = "GET /stranger HTTP/1.1\r\n\r\n";

START_TEST(test_a_viewer_stays) {
    House house;
    Peer peer(house, ask_mine);
    await(house, "an answer", [&] { return peer.has("\r\n\r\n/mine"); });
    ck_contains(peer.heard, "HTTP/1.1 200 OK\r\n");
    ck_contains(peer.heard, "Content-Length: 5\r\n");
    ck_contains(peer.heard, "Connection: keep-alive\r\n");
    // In pieces, and two at once.
    for (char c : ask_mine) peer.stream->write(std::string_view(&c, 1));
    await(house, "a second answer", [&] { return house.asked == 2; });
    peer.heard.clear();
    peer.stream->write(std::string_view("GET /one HTTP/1.1\r\n\r\nGET /two HTTP/1.1\r\n\r\n"));
    await(house, "two more", [&] { return peer.has("/one") && peer.has("/two"); });
    ck_assert(!peer.closed);
    ck_assert_uint_eq(house.server->connections(), 1);
    peer.heard.clear();
    peer.stream->write(std::string_view("GET /large HTTP/1.1\r\n\r\n"));
    await(house, "a large answer", [&] { return peer.heard.size() > 3'000'000; });
}
END_TEST

START_TEST(test_a_stranger_gets_one_answer) {
    House house;
    Peer peer(house, std::string(ask_stranger) + std::string(ask_mine));
    await(house, "the end", [&] { return peer.closed; });
    ck_contains(peer.heard, "HTTP/1.1 401 Unauthorized\r\n");
    ck_contains(peer.heard, "Connection: close\r\n");
    ck_assert_int_eq(house.asked, 1);
    peer.stream.reset();
    await(house, "no connection", [&] { return house.server->connections() == 0; });
}
END_TEST

START_TEST(test_refused_requests) {
    struct {
        std::string says;
        const char *status;
    } rows[]{
        {"POST /mine HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 405 "},
        {"dtask-1\n\x02 and more that is no HTTP\r\n\r\n", "HTTP/1.1 400 "},
        {"GET /mine HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 413 "},
        {"GET /mine HTTP/1.1\r\nX: " + std::string(200'000, 'x'), "HTTP/1.1 431 "},
    };
    House house;
    for (auto &row : rows) {
        Peer peer(house, row.says);
        await(house, row.status, [&] { return peer.closed; });
        ck_contains(peer.heard, row.status);
        ck_contains(peer.heard, "Connection: close\r\n");
    }
    ck_assert_int_eq(house.asked, 0);
}
END_TEST

// Who sends a byte now and then, or takes no answer, holds nothing for long.
START_TEST(test_slow_peers) {
    House house({.connections = 8, .request_ms = 500, .send_ms = 500, .idle_ms = 100});
    Peer silent(house, ""), slow(house, "GET /m"), idle(house, ask_mine);
    ev::Ticker drip(house.loop, 10, [&] { slow.stream->write(std::string_view("x")); });
    await(house, "all to be closed", [&] { return silent.closed && slow.closed && idle.closed; });
    ck_contains(slow.heard, "HTTP/1.1 408 ");
    ck_text_eq(silent.heard, "");
    ck_contains(idle.heard, "HTTP/1.1 200 ");
    await(house, "no connection", [&] { return house.server->connections() == 0; });
}
END_TEST

START_TEST(test_many_connections) {
    House house({.connections = 8, .request_ms = 600'000, .idle_ms = 600'000});
    Peer viewer(house, ask_mine);
    await(house, "an answer", [&] { return viewer.has("/mine"); });
    std::vector<std::unique_ptr<Peer>> strangers;
    for (int n = 0; n < 100; n++) strangers.push_back(std::make_unique<Peer>(house, "GET "));
    auto closed = [&] {
        int count = 0;
        for (auto &stranger : strangers) count += stranger->closed;
        return count;
    };
    await(house, "the oldest strangers to be closed", [&] { return closed() == 93; });
    ck_assert_uint_eq(house.server->connections(), 8);
    viewer.heard.clear();
    viewer.stream->write(ask_mine);
    await(house, "the viewer's next answer", [&] { return viewer.has("/mine"); });
    // Where all are viewers one more is not let in.
    strangers.clear();
    std::vector<std::unique_ptr<Peer>> viewers;
    await(house, "room", [&] { return house.server->connections() == 1; });
    for (int n = 0; n < 7; n++) {
        viewers.push_back(std::make_unique<Peer>(house, ask_mine));
        await(house, "an answer", [&] { return viewers.back()->has("/mine"); });
    }
    Peer late(house, ask_mine);
    await(house, "the last one to be closed", [&] { return late.closed; });
    ck_text_eq(late.heard, "");
    ck_assert(!viewer.closed);
}
END_TEST

Suite *suite() {
    auto s = suite_create("http");
    auto c = tcase_create("http");
    tcase_set_timeout(c, 300);
    for (auto test : {test_a_request, test_what_is_no_request, test_values_in_queries_and_cookies,
                      test_a_viewer_stays, test_a_stranger_gets_one_answer, test_refused_requests,
                      test_slow_peers, test_many_connections})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return dtask::test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
//
// lib/ev: streams over socket pairs and loopback, the listener.
#include "tests/unit/unit.h"

#include <algorithm>
#include <ctime>
#include <optional>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/log.h"
#include "lib/ev/listener.h"
#include "lib/ev/loop.h"
#include "lib/ev/stream.h"
#include "tests/unit/pair.h"
#include "tests/unit/scratch.h"
#include "tests/unit/wait.h"

using namespace dtask;
using dtask::test::error_of;
using dtask::test::must;
using dtask::test::Pair;
using dtask::test::settle;
using dtask::test::wait_for;

namespace {

/// A stream that keeps what comes.
struct Ear {
    Ear(ev::Loop &loop, Fd fd)
        : stream(loop, std::move(fd),
                 {.on_data = [this] { heard += stream.take(stream.available()); },
                  .on_closed = [this](const std::string &text) { why = text; }}) {}
    std::string heard;
    std::optional<std::string> why;
    ev::Stream stream;
};

// Streams

START_TEST(test_bytes_both_ways_and_end_of_file) {
    ev::Loop loop;
    Pair pair;
    std::optional<Ear> one(std::in_place, loop, std::move(pair.one));
    Ear two(loop, std::move(pair.two));
    one->stream.write(std::string_view("hello"));
    two.stream.write(std::string_view("there"));
    wait_for(loop, "both greetings", [&] { return two.heard == "hello" && one->heard == "there"; });
    one.reset();
    wait_for(loop, "the end of file", [&] { return two.why.has_value(); });
    ck_text_eq(*two.why, "");
    two.stream.write(std::string_view("into the void"));
    settle(loop);
}
END_TEST

// More than any buffer on the way: in pieces, in order, and not all at once.
START_TEST(test_large_data) {
    ev::Loop loop;
    Pair pair;
    Ear one(loop, std::move(pair.one)), two(loop, std::move(pair.two));
    std::string sent;
    for (int n = 0; sent.size() < 24 << 20; n++) {
        std::string piece(static_cast<std::size_t>(n) * 7919 % 300'000, static_cast<char>(n));
        sent += piece;
        if (n % 2)
            one.stream.write(std::string_view(piece));
        else
            one.stream.write(std::move(piece));
    }
    wait_for(
        loop, "24 MiB", [&] { return two.heard.size() == sent.size(); }, 20'000);
    ck_assert(two.heard == sent);
}
END_TEST

START_TEST(test_input_is_kept_until_taken) {
    ev::Loop loop;
    Pair pair;
    int calls = 0;
    Ear one(loop, std::move(pair.one));
    ev::Stream two(loop, std::move(pair.two),
                   {.on_data = [&] { calls++; }, .on_closed = [](const std::string &) {}});
    one.stream.write(std::string_view("abc"));
    wait_for(loop, "the first", [&] { return two.available() == 3; });
    one.stream.write(std::string_view("def"));
    wait_for(loop, "the second", [&] { return two.available() == 6; });
    ck_assert_int_eq(calls, 2);
    ck_text_eq(std::string(two.peek(4)), "abcd");
    two.drop(1);
    ck_text_eq(two.take(2), "bc");
    two.expect(100'000); // what is there stays
    ck_text_eq(two.take(3), "def");
    ck_assert_uint_eq(two.available(), 0);
    std::string large(100'000, 'x');
    one.stream.write(large);
    wait_for(loop, "what was expected", [&] { return two.available() == large.size(); });
    ck_assert(two.take(large.size()) == large);
}
END_TEST

// One that reads while another looks at its input leaves that alone.
START_TEST(test_reads_within_a_callback) {
    ev::Loop loop;
    Pair outer_pair, inner_pair;
    Ear outer_peer(loop, std::move(outer_pair.one)), inner_peer(loop, std::move(inner_pair.one));
    Ear inner(loop, std::move(inner_pair.two));
    std::string before, after;
    std::optional<ev::Stream> outer;
    outer.emplace(loop, std::move(outer_pair.two),
                  ev::Stream::Callbacks{.on_data =
                                            [&] {
                                                before = outer->peek(outer->available());
                                                inner.stream.pull();
                                                after = outer->peek(outer->available());
                                            },
                                        .on_closed = [](const std::string &) {}});
    inner_peer.stream.write(std::string_view("within"));
    outer_peer.stream.write(std::string_view("around"));
    wait_for(loop, "both", [&] { return inner.heard == "within" && !before.empty(); });
    ck_text_eq(before, "around");
    ck_text_eq(after, "around");
    ck_text_eq(outer->take(6), "around");
}
END_TEST

// After silence() nothing is called, not even for what has arrived already.
START_TEST(test_silence) {
    ev::Loop loop;
    Pair pair;
    Ear one(loop, std::move(pair.one));
    {
        Ear two(loop, std::move(pair.two));
        two.stream.write(std::string_view("x"));
        one.stream.silence();
        settle(loop);
    }
    settle(loop);
    ck_text_eq(one.heard, "");
    ck_assert(!one.why);
    one.stream.write(std::string_view("x"));
    settle(loop);
}
END_TEST

START_TEST(test_silenced_in_its_own_callback) {
    ev::Loop loop;
    Pair pair;
    int calls = 0;
    ev::Stream one(loop, std::move(pair.one),
                   {.on_data =
                        [&] {
                            calls++;
                            one.silence();
                        },
                    .on_closed = [](const std::string &) { ck_abort_msg("closed"); }});
    std::string much(8 << 20, 'x');
    {
        Ear two(loop, std::move(pair.two));
        two.stream.write(much);
        wait_for(loop, "data", [&] { return calls == 1; });
        settle(loop);
    }
    settle(loop);
    ck_assert_int_eq(calls, 1);
}
END_TEST

// The last words of a peer that has gone are heard, though we cannot answer.
START_TEST(test_last_words_while_writing) {
    ev::Loop loop;
    Pair pair;
    Ear one(loop, std::move(pair.one));
    one.stream.write(std::string(4 << 20, 'x')); // more than the socket holds
    settle(loop);
    ck_assert_int_eq(::write(pair.two.get(), "bye", 3), 3);
    pair.two.reset();
    one.stream.write(std::string_view("more"));
    wait_for(loop, "the end", [&] { return one.why.has_value(); });
    ck_text_eq(one.heard, "bye");
    ck_assert(!one.why->empty()); // what was lost is an error
    one.stream.write(std::string_view("more"));
    settle(loop);
}
END_TEST

// Whoever writes much can wait until the kernel has taken it.
START_TEST(test_pending_output) {
    ev::Loop loop;
    Pair pair;
    std::size_t least = SIZE_MAX;
    int calls = 0;
    ev::Stream one(loop, std::move(pair.one),
                   {.on_data = [] {},
                    .on_closed = [](const std::string &) {},
                    .on_sent =
                        [&] {
                            calls++;
                            ck_assert_uint_lt(one.pending(), least);
                            least = one.pending();
                        }});
    ck_assert_uint_eq(one.pending(), 0);
    one.write(std::string(4 << 20, 'x'));
    one.write(std::string_view("y"));
    ck_assert_uint_eq(one.pending(), (4 << 20) + 1);
    wait_for(loop, "the socket to be full", [&] { return calls > 0; });
    ck_assert_uint_gt(one.pending(), 0);
    Ear two(loop, std::move(pair.two));
    wait_for(
        loop, "all to be sent", [&] { return one.pending() == 0; }, 20'000);
    ck_assert_uint_eq(least, 0);
    wait_for(loop, "all to be heard", [&] { return two.heard.size() == (4 << 20) + 1; });
}
END_TEST

START_TEST(test_writes_on_from_the_callback) {
    ev::Loop loop;
    Pair pair;
    int left = 20;
    std::optional<ev::Stream> one;
    one.emplace(loop, std::move(pair.one),
                ev::Stream::Callbacks{.on_data = [] {},
                                      .on_closed = [](const std::string &) {},
                                      .on_sent =
                                          [&] {
                                              while (left > 0 && one->pending() < 1 << 20) {
                                                  left--;
                                                  one->write(std::string(1 << 20, 'x'));
                                              }
                                          }});
    Ear two(loop, std::move(pair.two));
    one->write(std::string_view("x"));
    wait_for(
        loop, "all of it", [&] { return two.heard.size() == (20 << 20) + 1; }, 20'000);
    ck_assert_uint_eq(one->pending(), 0);
}
END_TEST

// Listener, connect

START_TEST(test_listen_and_connect) {
    ev::Loop loop;
    std::optional<Ear> server;
    std::string peer;
    auto listener = must(ev::Listener::bind(loop, "127.0.0.1", 0, [&](Fd fd, std::string address) {
        server.emplace(loop, std::move(fd));
        peer = address;
    }));
    ck_assert_uint_gt(listener->port(), 0);
    Ear client(loop, must(ev::begin_connect("127.0.0.1:" + std::to_string(listener->port()))));
    client.stream.write(std::string_view("written before it was connected"));
    wait_for(loop, "the words", [&] { return server && !server->heard.empty(); });
    ck_text_eq(server->heard, "written before it was connected");
    ck_text_eq(peer, "127.0.0.1");
    ck_text_eq(client.stream.local_host(), "127.0.0.1");
    ck_contains(
        error_of(ev::Listener::bind(loop, "127.0.0.1", listener->port(), [](Fd, std::string) {})),
        "Address already in use");
}
END_TEST

START_TEST(test_listen_everywhere) {
    ev::Loop loop;
    std::string peer;
    auto listener = must(ev::Listener::bind(loop, "", 0, [&](Fd, std::string a) { peer = a; }));
    Ear client(loop, must(ev::begin_connect("127.0.0.1:" + std::to_string(listener->port()))));
    wait_for(loop, "a connection", [&] { return !peer.empty(); });
    ck_text_eq(peer, "127.0.0.1"); // not ::ffff:127.0.0.1
}
END_TEST

START_TEST(test_connection_refused) {
    ev::Loop loop;
    std::uint16_t port = 0;
    {
        auto listener = must(ev::Listener::bind(loop, "127.0.0.1", 0, [](Fd, std::string) {}));
        port = listener->port();
    }
    Ear client(loop, must(ev::begin_connect("127.0.0.1:" + std::to_string(port))));
    client.stream.write(std::string_view("hello"));
    wait_for(loop, "the refusal", [&] { return client.why.has_value(); });
    ck_text_eq(*client.why, "Connection refused");
}
END_TEST

START_TEST(test_addresses_that_are_none) {
    ev::Loop loop;
    for (auto text : {"", "localhost:80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:x",
                      "127.0.0.1:65536", "127.0.0.1:8x", "::1:80:"})
        ck_assert_msg(!ev::begin_connect(text), "\"%s\" was taken", text);
    ck_contains(error_of(ev::Listener::bind(loop, "n1", 0, [](Fd, std::string) {})),
                "not a numeric address");
}
END_TEST

// Without a descriptor to spare it waits a moment, and does not spin.
START_TEST(test_out_of_descriptors) {
    test::Scratch scratch;
    must(log::open("", log::Level::warning, scratch / "log"));
    ev::Loop loop;
    std::vector<Fd> accepted;
    auto listener = must(ev::Listener::bind(
        loop, "127.0.0.1", 0, [&](Fd fd, std::string) { accepted.push_back(std::move(fd)); }));
    auto address = "127.0.0.1:" + std::to_string(listener->port());
    auto one = must(ev::begin_connect(address));
    wait_for(loop, "the first connection", [&] { return accepted.size() == 1; });

    auto two = must(ev::begin_connect(address));
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    rlimit none{static_cast<rlim_t>(two.get()), before.rlim_max};
    ck_assert_int_eq(::setrlimit(RLIMIT_NOFILE, &none), 0);
    ev::Timer end(loop, [&] { loop.stop(); });
    end.set(90);
    auto began = std::clock();
    loop.run();
    ck_assert_uint_eq(accepted.size(), 1);
    ck_assert_int_lt((std::clock() - began) * 1000 / CLOCKS_PER_SEC, 45); // ms of CPU in 90

    ck_assert_int_eq(::setrlimit(RLIMIT_NOFILE, &before), 0);
    wait_for(loop, "the second connection", [&] { return accepted.size() == 2; });
    auto text = must(read_file(scratch / "log"));
    ck_contains(text, "warning: connections cannot be accepted and wait: Too many open files, of ");
    ck_assert_uint_eq(std::count(text.begin(), text.end(), '\n'), 1); // however often
}
END_TEST

Suite *suite() {
    auto s = suite_create("ev");
    auto stream = tcase_create("stream");
    tcase_set_timeout(stream, 30);
    for (auto test :
         {test_bytes_both_ways_and_end_of_file, test_large_data, test_input_is_kept_until_taken,
          test_reads_within_a_callback, test_silence, test_silenced_in_its_own_callback,
          test_last_words_while_writing, test_pending_output, test_writes_on_from_the_callback})
        tcase_add_test(stream, test);
    suite_add_tcase(s, stream);
    auto net = tcase_create("net");
    for (auto test : {test_listen_and_connect, test_listen_everywhere, test_connection_refused,
                      test_addresses_that_are_none, test_out_of_descriptors})
        tcase_add_test(net, test);
    suite_add_tcase(s, net);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

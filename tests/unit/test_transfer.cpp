// SPDX-License-Identifier: Apache-2.0
//
// Values between workers over loopback: a fetcher and a door with a store each, and doors that are
// played here and do wrong.
#include "tests/unit/unit.h"

#include <csignal>
#include <filesystem>
#include <optional>
#include <set>

#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/net.h"
#include "runtime/worker/fetcher.h"
#include "runtime/worker/values.h"
#include "tests/unit/scratch.h"
#include "tests/unit/site.h"
#include "tests/unit/wait.h"

using namespace dtask;
using namespace dtask::proto;
using dtask::test::Liar;
using dtask::test::long_ms;
using dtask::test::mib;
using dtask::test::must;
using dtask::test::pattern;
using dtask::test::secret;
using dtask::test::settle;
using dtask::test::Site;
using dtask::test::wait_for;
using dtask::worker::Fetcher;
using dtask::worker::Store;

namespace {

START_TEST(test_large_value) {
    ev::Loop loop;
    Site from(loop), to(loop);
    auto bytes = pattern(41 * mib + 7);
    from.add(5, bytes);
    to.fetcher->fetch({5, bytes.size(), from.address()});
    ck_assert_uint_eq(to.fetcher->incoming(), bytes.size());
    ck_text_eq(to.outcome(loop, 5), "");
    ck_assert(to.value(5) == bytes);
    ck_assert(to.scratch.names() == std::set<std::string>{"5"});
    ck_assert_uint_eq(to.store.bytes_fetched(), bytes.size());
    // What is here is not brought again.
    to.told.clear();
    to.fetcher->fetch({5, bytes.size(), "127.0.0.1:1"});
    ck_assert(to.told.contains(5));
    ck_text_eq(to.told[5], "");
}
END_TEST

START_TEST(test_many_values) {
    ev::Loop loop;
    Site from(loop), to(loop);
    constexpr std::uint64_t count = 60;
    for (std::uint64_t n = 0; n < count; n++) {
        from.add(n, pattern(70'000 + n));
        to.fetcher->fetch({n, 70'000 + n, from.address()});
        to.fetcher->fetch({n, 70'000 + n, from.address()}); // it comes already
    }
    wait_for(
        loop, "all of them", [&] { return to.told.size() == count; }, long_ms);
    for (std::uint64_t n = 0; n < count; n++) {
        ck_text_eq(to.told[n], "");
        ck_assert(to.value(n) == pattern(70'000 + n));
    }
    ck_assert_uint_eq(to.scratch.names().size(), count);
    ck_assert_uint_eq(to.fetcher->incoming(), 0);
}
END_TEST

START_TEST(test_values_that_cannot_be_had) {
    ev::Loop loop;
    Site from(loop), to(loop);
    to.fetcher->fetch({1, 100, from.address()});
    ck_text_eq(to.outcome(loop, 1), from.address() + ": it is not there");
    from.add(2, "twelve bytes");
    to.fetcher->fetch({2, 13, from.address()});
    ck_contains(to.outcome(loop, 2), "it has not the 13 bytes expected");
    std::string nobody;
    {
        Liar closed(loop, [](Link &, const Frame &) {});
        nobody = closed.address();
    }
    to.fetcher->fetch({3, 9, nobody});
    ck_contains(to.outcome(loop, 3), nobody + ": Connection refused");
    to.fetcher->fetch({4, 9, "n1:200"});
    ck_contains(to.outcome(loop, 4), "not an address");
    Store none;
    std::string why;
    Fetcher without(
        loop, secret, none,
        {[](std::uint64_t) {}, [&](std::uint64_t, const std::string &w, bool) { why = w; }});
    without.fetch({2, 12, from.address()});
    ck_text_eq(why, "this worker keeps no values");
}
END_TEST

START_TEST(test_doors_that_do_wrong) {
    struct {
        const char *why;
        std::function<void(Link &)> answer;
    } rows[]{
        {"closed by the peer",
         [](Link &link) {
             link.send(Liar::data(10, "12345"));
             // Sent before it closes: the frame leaves at the end of the turn.
         }},
        {"it has not the 10 bytes expected", [](Link &l) { l.send(Liar::data(11, "12345")); }},
        {"it has not the 10 bytes expected",
         [](Link &l) {
             l.send(Liar::data(10, "12345"));
             l.send(Liar::data(10, "123456"));
         }},
        {"a piece without bytes", [](Link &l) { l.send(Liar::data(10, "")); }},
        {"an answer of type pong", [](Link &l) { l.send(make_frame("pong")); }},
        {"size", [](Link &l) { l.send(make_frame("data")); }},
    };
    for (auto &row : rows) {
        ev::Loop loop;
        Site to(loop);
        Liar liar(loop, [&](Link &link, const Frame &) { row.answer(link); });
        to.fetcher->fetch({7, 10, liar.address()});
        if (std::string(row.why) == "closed by the peer") {
            wait_for(loop, "half of it", [&] { return to.fetcher->incoming() == 5; });
            ck_assert((to.scratch.names() == std::set<std::string>{"7.fetch"}));
            liar.links.clear();
        }
        ck_contains(to.outcome(loop, 7), row.why);
        ck_assert_uint_eq(liar.asked.size(), 1);
        ck_text_eq(liar.asked[0].type(), "get");
        ck_assert_uint_eq(must(decode_datum(liar.asked[0])), 7);
    }
}
END_TEST

START_TEST(test_silent_door) {
    ev::Loop loop;
    Site to(loop, 100);
    Liar liar(loop, [](Link &link, const Frame &) { link.send(Liar::data(10, "12345")); });
    to.fetcher->fetch({7, 10, liar.address()});
    ck_contains(to.outcome(loop, 7), "nothing came for too long");
}
END_TEST

START_TEST(test_dropped_while_it_comes) {
    ev::Loop loop;
    Site to(loop);
    bool whole = false;
    Liar liar(loop, [&](Link &link, const Frame &) {
        link.send(Liar::data(10, whole ? "1234567890" : "12345"));
    });
    for (std::uint64_t n = 0; n < 12; n++) to.fetcher->fetch({n, 10, liar.address()});
    wait_for(loop, "a part of those that may come",
             [&] { return to.fetcher->incoming() == 12 * 10 - 8 * 5; });
    for (std::uint64_t n = 8; n < 12; n++) to.fetcher->drop(n); // not begun
    for (std::uint64_t n = 0; n < 8; n++) to.fetcher->drop(n);
    to.fetcher->drop(99);
    ck_assert_uint_eq(to.fetcher->incoming(), 0);
    settle(loop);
    ck_assert(to.scratch.names().empty());
    ck_assert(to.told.empty());
    whole = true;
    to.fetcher->fetch({3, 10, liar.address()});
    ck_text_eq(to.outcome(loop, 3), "");
    ck_text_eq(to.value(3), "1234567890");
    // One that ends with values on their way leaves nothing.
    whole = false;
    to.fetcher->fetch({4, 10, liar.address()});
    wait_for(loop, "a part", [&] { return to.fetcher->incoming() == 5; });
    to.fetcher.reset();
    ck_assert((to.scratch.names() == std::set<std::string>{"3"}));
}
END_TEST

// An executor here may make it while it comes.
START_TEST(test_made_here_meanwhile) {
    ev::Loop loop;
    Site to(loop);
    Link *link = nullptr;
    Liar liar(loop, [&](Link &l, const Frame &) {
        link = &l;
        l.send(Liar::data(10, "12345"));
    });
    to.fetcher->fetch({7, 10, liar.address()});
    wait_for(loop, "half of it", [&] { return to.fetcher->incoming() == 5; });
    to.add(7, "made here");
    link->send(Liar::data(10, "67890"));
    ck_text_eq(to.outcome(loop, 7), "");
    ck_text_eq(to.value(7), "made here");
    ck_assert((to.scratch.names() == std::set<std::string>{"7"}));
    ck_assert_uint_eq(to.store.bytes(), 9);
}
END_TEST

// Where memory is full it comes to disk at once.
START_TEST(test_no_room_in_memory) {
    ev::Loop loop;
    Site from(loop);
    test::Scratch memory, disk;
    auto bytes = pattern(5 * mib);
    from.add(1, bytes);
    // A reserve that no file system has.
    Store store = must(Store::open({memory.path(), disk / "spill", true, 2}));
    std::optional<std::string> outcome;
    Fetcher fetcher(loop, secret, store,
                    {[&](std::uint64_t) { outcome = ""; },
                     [&](std::uint64_t, const std::string &why, bool) { outcome = why; }});
    fetcher.fetch({1, bytes.size(), from.address()});
    wait_for(
        loop, "an outcome", [&] { return outcome.has_value(); }, long_ms);
    ck_text_eq(*outcome, "");
    ck_assert(must(read_file(memory / "1", 10 * mib)) == bytes);
    ck_assert_uint_eq(store.bytes(), bytes.size());
    ck_assert_uint_eq(store.bytes_in_memory(), 0);
    ck_assert(std::filesystem::is_symlink(memory / "1"));
    store.free(1);
    ck_assert(memory.names().empty());
    ck_assert(std::filesystem::is_empty(disk / "spill"));
    outcome.reset();
    fetcher.fetch({2, 5, from.address()});
    wait_for(loop, "another", [&] { return outcome.has_value(); });
    ck_contains(*outcome, "it is not there");
    ck_assert(std::filesystem::is_empty(disk / "spill"));
}
END_TEST

START_TEST(test_no_room) {
    ev::Loop loop;
    Site from(loop), to(loop);
    from.add(1, pattern(9 * mib));
    ::signal(SIGXFSZ, SIG_IGN);
    struct rlimit before {};
    ::getrlimit(RLIMIT_FSIZE, &before);
    struct rlimit small = before;
    small.rlim_cur = mib;
    ::setrlimit(RLIMIT_FSIZE, &small);
    to.fetcher->fetch({1, 9 * mib, from.address()});
    ck_contains(to.outcome(loop, 1), "File too large");
    ck_assert(!to.full); // the user's own limit, not the disk's
    ::setrlimit(RLIMIT_FSIZE, &before);
}
END_TEST

/// Somebody at the door.
struct Visitor {
    std::optional<Role> open;
    std::vector<Frame> frames;
    bool closed = false;
    std::unique_ptr<Link> link;

    Visitor(ev::Loop &loop, const std::string &address, Role role, const Token &token = secret) {
        link =
            Link::initiate(loop, must(ev::begin_connect(address)), port_of(address), token, role,
                           {.on_open = [this](Role r) { open = r; },
                            .on_frame = [this](Frame frame) { frames.push_back(std::move(frame)); },
                            .on_closed = [this](bool, const std::string &) { closed = true; }});
    }
};

// One connection for several values, one after the other.
START_TEST(test_get_from_a_client) {
    ev::Loop loop;
    Site site(loop);
    auto bytes = pattern(9 * mib);
    site.add(1, bytes);
    site.add(2, "small");
    Visitor client(loop, site.address(), Role::client);
    wait_for(loop, "the proof", [&] { return client.open.has_value(); });
    for (std::uint64_t data : {1, 3, 2}) client.link->send(encode_datum("get", data));
    wait_for(
        loop, "all answers",
        [&] { return !client.frames.empty() && client.frames.back().payload == "small"; }, long_ms);
    std::string got;
    std::size_t n = 0;
    for (; n < client.frames.size() && got.size() < bytes.size(); n++) {
        ck_text_eq(client.frames[n].type(), "data");
        ck_assert_uint_eq(must(client.frames[n].header.natural("size")), bytes.size());
        ck_assert_uint_le(client.frames[n].payload.size(), 4 * mib);
        got += client.frames[n].payload;
    }
    ck_assert(got == bytes);
    ck_assert_uint_eq(client.frames.size(), n + 2);
    ck_text_eq(client.frames[n].type(), "gone");
    ck_assert_uint_eq(must(decode_datum(client.frames[n])), 3);
    client.link->send(make_frame("ping"));
    wait_for(loop, "the pong", [&] { return client.frames.size() == n + 3; });
}
END_TEST

START_TEST(test_nothing_for_others) {
    ev::Loop loop;
    Site site(loop);
    site.add(1, "secret");
    Visitor stranger(loop, site.address(), Role::client, Token::random());
    wait_for(loop, "the stranger to be closed", [&] { return stranger.closed; });
    ck_assert(!stranger.open);
    for (auto role : {Role::observer, Role::control}) {
        Visitor other(loop, site.address(), role);
        wait_for(loop, "the proof", [&] { return other.open.has_value(); });
        other.link->send(encode_datum("get", 1));
        wait_for(loop, "it to be closed", [&] { return other.closed; });
        ck_assert(other.frames.empty());
    }
    for (auto text :
         {"{\"t\":\"get\"}", "{\"t\":\"get\",\"d\":\"../x\"}", "{\"t\":\"put\",\"d\":1}"}) {
        Visitor wrong(loop, site.address(), Role::worker);
        wait_for(loop, "the proof", [&] { return wrong.open.has_value(); });
        wrong.link->send({must(Json::parse(text)), {}});
        wait_for(loop, "it to be closed", [&] { return wrong.closed; });
        ck_assert(wrong.frames.empty());
    }
}
END_TEST

// A reader that stops reading costs a few pieces, not the value.
START_TEST(test_reader_that_does_not_read) {
    ev::Loop loop;
    Site site(loop);
    site.add(1, std::string(80 * mib, 'v'));
    Fd raw = must(ev::begin_connect(site.address()));
    Initiator initiator(secret, Role::client, port_of(site.address()));
    auto say = [&](std::string_view bytes) {
        wait_for(loop, "the connection to take it", [&] {
            return ::write(raw.get(), bytes.data(), bytes.size()) ==
                   static_cast<ssize_t>(bytes.size());
        });
    };
    auto hear = [&](std::size_t n) {
        std::string bytes(n, '\0');
        std::size_t got = 0;
        wait_for(loop, "the answer", [&] {
            auto r = ::read(raw.get(), bytes.data() + got, n - got);
            if (r > 0) got += static_cast<std::size_t>(r);
            return got == n;
        });
        return bytes;
    };
    say(initiator.hello());
    say(must(initiator.prove(hear(answer_size))));
    auto get = encode_datum("get", 1);
    say(encode_head(get));
    wait_for(loop, "the door to begin", [&] { return site.read.has_value(); });
    settle(loop, 200);
    auto queued = ::lseek(site.read->get(), 0, SEEK_CUR);
    ck_assert_int_gt(queued, 0);
    ck_assert_int_le(queued, 40 * mib); // 8 MiB here, the rest in the kernel's buffers
    // Once it reads, all comes.
    std::size_t left = 80 * mib;
    std::string chunk(mib, '\0');
    wait_for(
        loop, "the value",
        [&] {
            ssize_t n;
            while ((n = ::read(raw.get(), chunk.data(), chunk.size())) > 0)
                left -= std::min<std::size_t>(left, static_cast<std::size_t>(n));
            return left == 0;
        },
        long_ms);
}
END_TEST

// The bound on strangers is none on those that have proved themselves.
START_TEST(test_many_at_the_door) {
    ev::Loop loop;
    Site site(loop);
    std::vector<std::unique_ptr<Visitor>> visitors;
    for (int n = 0; n < 100; n++) {
        auto &v =
            *visitors.emplace_back(std::make_unique<Visitor>(loop, site.address(), Role::observer));
        wait_for(loop, "a proof", [&] { return v.open.has_value(); });
        v.link->send(make_frame("ping"));
    }
    std::vector<Fd> strangers;
    for (int n = 0; n < 65; n++) strangers.push_back(must(ev::begin_connect(site.address())));
    char c;
    wait_for(loop, "one stranger too many to be closed",
             [&] { return ::read(strangers.back().get(), &c, 1) == 0; });
    ck_assert(::read(strangers.front().get(), &c, 1) < 0); // it may yet prove itself
    for (auto &v : visitors) {
        wait_for(loop, "a pong", [&] { return v->frames.size() == 1; });
        ck_assert(!v->closed);
    }
}
END_TEST

// A value is not lost to a crowd that keeps its source's door shut for a while.
START_TEST(test_a_crowded_door) {
    ev::Loop loop;
    Site from(loop), to(loop);
    from.add(5, "twelve bytes");
    std::vector<Fd> strangers;
    for (int n = 0; n < 65; n++) strangers.push_back(must(ev::begin_connect(from.address())));
    char c;
    wait_for(loop, "one stranger too many to be closed",
             [&] { return ::read(strangers.back().get(), &c, 1) == 0; });
    to.fetcher->fetch({5, 12, from.address()});
    settle(loop, 50);
    ck_assert(!to.told.contains(5));
    strangers.clear();
    ck_text_eq(to.outcome(loop, 5), "");
    ck_text_eq(to.value(5), "twelve bytes");
    // One that stays shut is given up.
    unsigned closed = 0;
    auto shut = must(ev::Listener::bind(loop, "127.0.0.1", 0, [&](Fd, std::string) { closed++; }));
    auto address = join_address("127.0.0.1", shut->port());
    to.fetcher->fetch({6, 12, address});
    wait_for(
        loop, "the end of patience", [&] { return to.told.contains(6); }, long_ms);
    ck_contains(to.told[6], address);
    ck_assert_uint_gt(closed, 3);
    ck_assert_uint_eq(to.fetcher->incoming(), 0);
    ck_assert(to.scratch.names() == std::set<std::string>{"5"});
}
END_TEST

// The same where the worker itself has no memory left for it.
START_TEST(test_no_room_below_the_limit) {
    ev::Loop loop;
    Site from(loop);
    test::Scratch memory, disk;
    for (std::uint64_t n = 1; n <= 3; n++) from.add(n, pattern(2 * mib));
    std::set<std::uint64_t> fetched;
    worker::Values values(loop, secret, must(Store::open({memory.path(), disk / "spill", true, 0})),
                          [&](Frame frame) {
                              ck_text_eq(frame.type(), "fetched");
                              fetched.insert(must(decode_datum(frame)));
                          });
    values.make_room(3 * mib, 10 * mib); // up to 7 may be in use
    for (std::uint64_t n = 1; n <= 3; n++)
        must(values.on_fetch(encode(Fetch{n, 2 * mib, from.address()})));
    wait_for(
        loop, "all of them", [&] { return fetched.size() == 3; }, long_ms);
    ck_assert(!std::filesystem::is_symlink(memory / "1"));
    ck_assert(!std::filesystem::is_symlink(memory / "2"));
    ck_assert(std::filesystem::is_symlink(memory / "3"));
    ck_assert(must(read_file(memory / "3", 10 * mib)) == pattern(2 * mib));
}
END_TEST

Suite *suite() {
    auto s = suite_create("transfer");
    auto c = tcase_create("transfer");
    tcase_set_timeout(c, 60);
    for (auto test :
         {test_large_value, test_many_values, test_values_that_cannot_be_had,
          test_doors_that_do_wrong, test_silent_door, test_dropped_while_it_comes,
          test_made_here_meanwhile, test_no_room_in_memory, test_no_room_below_the_limit,
          test_no_room, test_get_from_a_client, test_nothing_for_others,
          test_reader_that_does_not_read, test_many_at_the_door, test_a_crowded_door})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
//
// lib/proto/link over socket pairs: both proofs, frames, and peers that are
// none.
#include "tests/unit/unit.h"

#include <optional>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>

#include "lib/proto/codec.h"
#include "lib/proto/link.h"
#include "tests/unit/fixtures.h"
#include "tests/unit/pair.h"
#include "tests/unit/wait.h"

using namespace dtask;
using namespace dtask::proto;
using dtask::test::contains;
using dtask::test::fixture;
using dtask::test::mib;
using dtask::test::must;
using dtask::test::Pair;
using dtask::test::settle;
using dtask::test::wait_for;

namespace {

const Token secret = Token::random();

/// A link that keeps what happens.
struct End {
    std::optional<Role> role;
    std::vector<Frame> frames;
    std::optional<bool> proven; ///< set once it has closed
    std::string why;
    std::unique_ptr<Link> link;

    Link::Callbacks callbacks() {
        return {.on_open =
                    [this](Role peer) {
                        ck_assert(!role && !proven);
                        role = peer;
                    },
                .on_frame =
                    [this](Frame frame) {
                        ck_assert(role && !proven);
                        frames.push_back(std::move(frame));
                    },
                .on_closed =
                    [this](bool was_proven, const std::string &text) {
                        ck_assert(!proven);
                        proven = was_proven;
                        why = text;
                    }};
    }
    void accept(ev::Loop &loop, Fd fd, std::int64_t deadline_ms = Link::proof_deadline_ms) {
        link = Link::accept(loop, std::move(fd), secret, callbacks(), deadline_ms);
    }
    void initiate(ev::Loop &loop, Fd fd, const Token &token, Role as,
                  std::int64_t deadline_ms = Link::proof_deadline_ms) {
        link = Link::initiate(loop, std::move(fd), 0, token, as, callbacks(), deadline_ms);
    }
};

/// Two ends that have proved themselves.
struct Connected {
    ev::Loop loop;
    End near, far;
    Connected() {
        Pair pair;
        near.accept(loop, std::move(pair.one));
        far.initiate(loop, std::move(pair.two), secret, Role::worker);
        wait_for(loop, "both proofs", [&] { return near.role && far.role; });
    }
};

/// The other end as plain bytes, with a proof of its own where it is to be right.
struct Stranger {
    ev::Loop loop;
    End end;
    Fd fd;
    explicit Stranger(std::int64_t deadline_ms = Link::proof_deadline_ms) {
        Pair pair;
        end.accept(loop, std::move(pair.one), deadline_ms);
        fd = std::move(pair.two);
        ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
    }
    void say(std::string_view bytes) { must(write_all(fd.get(), bytes)); }
    std::string hear(std::size_t n) {
        std::string bytes(n, '\0');
        std::size_t got = 0;
        wait_for(loop, "bytes of the other end", [&] {
            auto r = ::read(fd.get(), bytes.data() + got, n - got);
            if (r > 0) got += static_cast<std::size_t>(r);
            return got == n;
        });
        return bytes;
    }
    void prove() {
        Initiator initiator(secret, Role::client, 0);
        say(initiator.hello());
        say(must(initiator.prove(hear(answer_size))));
        wait_for(loop, "the proof to be taken", [&] { return end.role.has_value(); });
    }
    void expect_closed(bool proven, const char *why) {
        wait_for(loop, "the end", [&] { return end.proven.has_value(); });
        ck_assert_int_eq(*end.proven, proven);
        ck_contains(end.why, why);
    }
};

START_TEST(test_open_and_frames_in_order) {
    Connected c;
    ck_assert(*c.near.role == Role::worker);
    ck_assert(*c.far.role == Role::worker);
    ck_assert(c.near.link->open() && c.far.link->open());
    constexpr std::uint64_t count = 1000;
    for (std::uint64_t n = 0; n < count; n++) {
        Function function{n, "f", std::string(n * 7919 % 100'000, static_cast<char>(n))};
        c.far.link->send(encode(function));
        c.near.link->send(encode(WorkerCount{n, count}));
    }
    wait_for(
        c.loop, "all frames",
        [&] { return c.near.frames.size() == count && c.far.frames.size() == count; }, 20'000);
    for (std::uint64_t n = 0; n < count; n++) {
        auto function = must(decode_function(std::move(c.near.frames[n])));
        ck_assert_uint_eq(function.f, n);
        ck_assert(function.pickled == std::string(n * 7919 % 100'000, static_cast<char>(n)));
        ck_assert_uint_eq(must(decode_worker_count(c.far.frames[n])).n, n);
    }
}
END_TEST

// Whoever sends much can wait until what it sent has left.
START_TEST(test_pending_frames) {
    ev::Loop loop;
    Pair pair;
    End far;
    std::unique_ptr<Link> near;
    std::size_t left = 30, most = 0;
    auto send_more = [&] {
        for (; left > 0 && near->open() && near->pending() < mib; left--)
            near->send(encode(Function{left, "f", std::string(mib, 'x')}));
        most = std::max(most, near->pending());
    };
    near = Link::accept(loop, std::move(pair.one), secret,
                        {.on_open = [&](Role) { send_more(); },
                         .on_frame = [](Frame) {},
                         .on_closed = [](bool, const std::string &) {},
                         .on_sent = send_more});
    far.initiate(loop, std::move(pair.two), secret, Role::worker);
    wait_for(
        loop, "all frames", [&] { return far.frames.size() == 30; }, 20'000);
    ck_assert_uint_eq(near->pending(), 0);
    ck_assert_uint_lt(most, 3 * mib);
}
END_TEST

// A frame may follow the initiator's proof at once, in the same packet.
START_TEST(test_first_frame_with_the_proof) {
    Stranger s;
    Initiator initiator(secret, Role::observer, 0);
    s.say(initiator.hello());
    auto proof = must(initiator.prove(s.hear(answer_size)));
    s.say(proof + fixture("info-request.frame"));
    wait_for(s.loop, "the frame", [&] { return s.end.frames.size() == 1; });
    ck_assert(*s.end.role == Role::observer);
    ck_text_eq(s.end.frames[0].type(), "info");
}
END_TEST

// Byte by byte is as good as all at once.
START_TEST(test_bytes_one_by_one) {
    Stranger s;
    s.prove();
    for (char c : fixture("submit-three.frame") + fixture("cancel.frame")) {
        s.say({&c, 1});
        settle(s.loop, 0);
    }
    settle(s.loop);
    ck_assert_uint_eq(s.end.frames.size(), 2);
    must(decode_submit(std::move(s.end.frames[0])));
}
END_TEST

START_TEST(test_peer_that_leaves) {
    Connected c;
    c.far.link->send(encode_bye("enough"));
    settle(c.loop);
    c.far.link.reset();
    wait_for(c.loop, "the end", [&] { return c.near.proven.has_value(); });
    ck_assert(*c.near.proven);
    ck_text_eq(c.near.why, "");
    ck_assert_uint_eq(c.near.frames.size(), 1);
    ck_assert(!c.near.link->open());
    c.near.link->send(encode_bye("nobody hears")); // dropped
    settle(c.loop);
}
END_TEST

START_TEST(test_closed_by_us_is_silent) {
    Connected c;
    c.near.link->close();
    ck_assert(!c.near.link->open());
    c.far.link->send(encode_bye("too late"));
    settle(c.loop);
    ck_assert(c.near.frames.empty());
    ck_assert(!c.near.proven);
}
END_TEST

START_TEST(test_wrong_tokens) {
    ev::Loop loop;
    Pair pair;
    End near, far;
    near.accept(loop, std::move(pair.one));
    far.initiate(loop, std::move(pair.two), Token::random(), Role::client);
    // The acceptor proves itself first: the initiator finds out and goes.
    wait_for(loop, "the initiator", [&] { return far.proven.has_value(); });
    ck_assert(!*far.proven);
    ck_text_eq(far.why, "it does not hold this step's token");
    far.link.reset();
    wait_for(loop, "the acceptor", [&] { return near.proven.has_value(); });
    ck_assert(!*near.proven && !near.role);
}
END_TEST

START_TEST(test_wrong_proof) {
    Stranger s;
    Initiator initiator(secret, Role::client, 0);
    s.say(initiator.hello());
    s.hear(answer_size);
    s.say(std::string(proof_size, 'x') + fixture("info-request.frame"));
    s.expect_closed(false, "wrong token");
    ck_assert(!s.end.role && s.end.frames.empty());
}
END_TEST

// Of another version: each side says so, and the one that was connected to tells its own.
START_TEST(test_another_version) {
    Stranger s;
    auto hello = Initiator(secret, Role::client, 0).hello();
    hello[6] = '2';
    s.say(hello);
    auto told = s.hear(magic.size());
    ck_text_eq(told, magic);
    s.fd = Fd();
    s.expect_closed(false, "it speaks version 2 of dtask's protocol, and this is version 1");

    Stranger pushes;
    pushes.say(hello + std::string(proof_size, 'x'));
    pushes.expect_closed(false, "it speaks version 2 ");
    ck_assert(!pushes.end.role);

    ev::Loop loop;
    Pair pair;
    End far;
    far.initiate(loop, std::move(pair.one), secret, Role::client);
    must(write_all(pair.two.get(), "dtask-2\n"));
    wait_for(loop, "the initiator", [&] { return far.proven.has_value(); });
    ck_contains(far.why, "it speaks version 2 of dtask's protocol, and this is version 1");
    ck_assert(far.link->is_other_version());
}
END_TEST

START_TEST(test_not_a_peer) {
    Stranger s;
    s.say("GET / HTTP/1.1\r\nHost: n1:20000\r\nUser-Agent: curl/7.88.1\r\n\r\n");
    s.expect_closed(false, "not a dtask peer");
}
END_TEST

START_TEST(test_peer_that_leaves_before_its_proof) {
    for (std::size_t sent : {std::size_t{0}, std::size_t{20}, hello_size}) {
        Stranger s;
        Initiator initiator(secret, Role::client, 0);
        s.say(initiator.hello().substr(0, sent));
        settle(s.loop);
        s.fd.reset();
        s.expect_closed(false, "");
    }
}
END_TEST

// Connected, and then nothing, or half of it.
START_TEST(test_half_open) {
    for (std::size_t sent : {std::size_t{0}, std::size_t{20}, hello_size}) {
        Stranger s(30);
        Initiator initiator(secret, Role::client, 0);
        s.say(initiator.hello().substr(0, sent));
        s.expect_closed(false, "no proof within 10 s");
    }
    ev::Loop loop;
    Pair pair;
    End far;
    far.initiate(loop, std::move(pair.two), secret, Role::client, 30);
    wait_for(loop, "the initiator's patience", [&] { return far.proven.has_value(); });
    ck_assert(!*far.proven);
    static_assert(Link::proof_deadline_ms == 10'000);
}
END_TEST

// The deadline is for the proof only: an open link may be quiet.
START_TEST(test_quiet_and_open) {
    ev::Loop loop;
    Pair pair;
    End near, far;
    near.accept(loop, std::move(pair.one), 20);
    far.initiate(loop, std::move(pair.two), secret, Role::client, 20);
    wait_for(loop, "both proofs", [&] { return near.role && far.role; });
    ev::Timer later(loop, [&] { loop.stop(); });
    later.set(60);
    loop.run();
    ck_assert(near.link->open() && far.link->open());
}
END_TEST

START_TEST(test_frames_that_are_none) {
    struct {
        std::string bytes;
        const char *why;
    } rows[]{
        {fixture("bad-header-length.frame"), "over the limit"},
        {fixture("bad-payload-length.frame"), "over the limit"},
        {fixture("bad-empty-header.frame"), "not JSON"},
        {fixture("bad-not-json.frame"), "not JSON"},
        {fixture("bad-no-type.frame"), "has no type"},
        {std::string(8, '\xff'), "over the limit"},
    };
    for (auto &row : rows) {
        Stranger s;
        s.prove();
        s.say(row.bytes + fixture("info-request.frame"));
        s.expect_closed(true, row.why);
        ck_assert(s.end.frames.empty()); // nothing that follows is taken
    }
}
END_TEST

START_TEST(test_frame_cut_short) {
    Stranger s;
    s.prove();
    auto bytes = fixture("submit-three.frame");
    s.say(bytes.substr(0, bytes.size() - 1));
    settle(s.loop);
    s.fd.reset();
    s.expect_closed(true, "");
    ck_assert(s.end.frames.empty());
}
END_TEST

// How an owner lets go of a link from inside its callbacks.
START_TEST(test_destroyed_in_a_posted_callback) {
    Connected c;
    int freed = 0;
    End last;
    Pair pair;
    last.link = Link::accept(c.loop, std::move(pair.one), secret,
                             {.on_open = [](Role) {},
                              .on_frame =
                                  [&](Frame) {
                                      last.link->close();
                                      c.loop.post([&] {
                                          last.link.reset();
                                          freed++;
                                      });
                                  },
                              .on_closed = [](bool, const std::string &) {}});
    End peer;
    peer.initiate(c.loop, std::move(pair.two), secret, Role::control);
    wait_for(c.loop, "the proof", [&] { return peer.role.has_value(); });
    for (int n = 0; n < 3; n++) peer.link->send(encode_shutdown(0));
    wait_for(c.loop, "the end", [&] { return freed == 1 && peer.proven; });
    ck_assert_int_eq(freed, 1);
}
END_TEST

Suite *suite() {
    auto s = suite_create("link");
    auto c = tcase_create("link");
    tcase_set_timeout(c, 30);
    tcase_add_test(c, test_open_and_frames_in_order);
    tcase_add_test(c, test_pending_frames);
    tcase_add_test(c, test_first_frame_with_the_proof);
    tcase_add_test(c, test_bytes_one_by_one);
    tcase_add_test(c, test_peer_that_leaves);
    tcase_add_test(c, test_closed_by_us_is_silent);
    tcase_add_test(c, test_wrong_tokens);
    tcase_add_test(c, test_wrong_proof);
    tcase_add_test(c, test_another_version);
    tcase_add_test(c, test_not_a_peer);
    tcase_add_test(c, test_peer_that_leaves_before_its_proof);
    tcase_add_test(c, test_half_open);
    tcase_add_test(c, test_quiet_and_open);
    tcase_add_test(c, test_frames_that_are_none);
    tcase_add_test(c, test_frame_cut_short);
    tcase_add_test(c, test_destroyed_in_a_posted_callback);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

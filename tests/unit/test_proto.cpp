// SPDX-License-Identifier: Apache-2.0
//
// lib/proto's handshake, frames and records without sockets, each against the byte fixtures that
// the Python side is tested with.
#include "tests/unit/unit.h"

#include "lib/proto/auth.h"
#include "lib/proto/codec.h"
#include "lib/proto/frame.h"
#include "lib/proto/record.h"
#include "tests/unit/fixtures.h"
#include "tests/unit/frames.h"

using namespace dtask;
using namespace dtask::proto;
using dtask::test::bytes_of;
using dtask::test::error_of;
using dtask::test::fixture;
using dtask::test::fixture_index;
using dtask::test::must;
using dtask::test::read_frame;

namespace {

Token token() { return must(Token::from_hex(must(fixture_index().string("token")))); }

// Handshake

START_TEST(test_handshakes_of_the_fixtures) {
    auto list = must(fixture_index().member("handshakes"));
    ck_assert_uint_gt(list.size(), 0);
    for (std::size_t n = 0; n < list.size(); n++) {
        auto row = list.at(n);
        auto name = must(row.string("name"));
        auto role = static_cast<Role>(must(row.natural("role")));
        auto fixture_port = static_cast<std::uint16_t>(must(row.natural("port")));
        bool good = must(row.member("ok")).compact() == "true";
        auto hello = fixture(name + ".hello"), answer = fixture(name + ".accept"),
             proof = fixture(name + ".initiate");

        Initiator initiator(token(), role, fixture_port, bytes_of(row, "nonce_i"));
        ck_assert(initiator.hello() == hello);
        Acceptor acceptor(token(), fixture_port, bytes_of(row, "nonce_a"));
        auto own_answer = must(acceptor.answer(hello));
        ck_assert_int_eq(own_answer == answer, good);
        auto own_proof = initiator.prove(answer);
        ck_assert_int_eq(own_proof.has_value(), good);
        if (good) ck_assert(*own_proof == proof);
        auto proven = acceptor.check(proof);
        ck_assert_int_eq(proven.has_value(), good);
        if (good) ck_assert(*proven == role);
    }
}
END_TEST

START_TEST(test_handshake_with_random_nonces) {
    auto secret = Token::random();
    ck_assert(secret.bytes() != Token::random().bytes());
    Initiator one(secret, Role::worker, 0), other(secret, Role::worker, 0);
    ck_assert(one.hello() != other.hello());
    Acceptor acceptor(secret, 0), elsewhere(secret, 0);
    auto answer = must(acceptor.answer(one.hello()));
    ck_assert(answer != must(elsewhere.answer(one.hello())));
    ck_assert(must(acceptor.check(must(one.prove(answer)))) == Role::worker);
    // A proof made for one connection is of no use on another.
    ck_text_eq(error_of(elsewhere.check(must(one.prove(answer)))), "wrong token");
    ck_assert(!other.prove(answer));
}
END_TEST

// Whoever listens on another of the step's ports and passes bytes on has the
// port that was dialled in them, and the scheduler has its own.
START_TEST(test_relay_from_another_port) {
    auto secret = token();
    Initiator dialled(secret, Role::worker, 20000);
    Acceptor scheduler(secret, 20001);
    ck_text_eq(error_of(scheduler.answer(dialled.hello())), "it dialled another port: a relay");
}
END_TEST

// Every byte of every step counts, the role's included.
START_TEST(test_handshake_with_one_bit_changed) {
    auto secret = token();
    Initiator initiator(secret, Role::client, 0);
    for (std::size_t n = 0; n < hello_size; n++) {
        auto hello = initiator.hello();
        hello[n] = static_cast<char>(hello[n] ^ 1);
        Acceptor acceptor(secret, 0);
        auto answer = acceptor.answer(hello);
        if (!answer) continue;
        ck_assert_uint_ge(n, 8); // the magic is refused at once
        ck_assert_msg(!initiator.prove(*answer), "byte %zu of hello does not count", n);
    }
    for (std::size_t n = 0; n < answer_size; n++) {
        Acceptor acceptor(secret, 0);
        auto answer = must(acceptor.answer(initiator.hello()));
        answer[n] = static_cast<char>(answer[n] ^ 1);
        ck_assert_msg(!initiator.prove(answer), "byte %zu of the answer does not count", n);
    }
    for (std::size_t n = 0; n < proof_size; n++) {
        Acceptor acceptor(secret, 0);
        auto proof = must(initiator.prove(must(acceptor.answer(initiator.hello()))));
        proof[n] = static_cast<char>(proof[n] ^ 1);
        ck_assert_msg(!acceptor.check(proof), "byte %zu of the proof does not count", n);
    }
}
END_TEST

// A peer without the token that sends back what it was sent gets nowhere.
START_TEST(test_handshake_reflected) {
    auto secret = token();
    Initiator initiator(secret, Role::client, 0);
    Acceptor acceptor(secret, 0);
    auto answer = must(acceptor.answer(initiator.hello()));
    auto mac = answer.substr(answer_size - proof_size);
    ck_text_eq(error_of(acceptor.check(mac)), "wrong token");
    ck_assert(!initiator.prove(initiator.hello() + mac.substr(0, answer_size - hello_size)));
    // Nor does an acceptor's half serve as another acceptor's.
    Acceptor mirror(secret, 0);
    ck_assert(!mirror.answer(answer.substr(0, hello_size)) ||
              !initiator.prove(must(mirror.answer(answer.substr(0, hello_size)))));
}
END_TEST

START_TEST(test_handshake_cut_short_or_foreign) {
    auto secret = token();
    Initiator initiator(secret, Role::client, 0);
    Acceptor acceptor(secret, 0);
    for (std::string hello :
         {std::string(), std::string("dtask-1\n"), std::string(48, '\0'),
          std::string("GET / HTTP/1.1\r\nHost: n1:20000\r\nAccept: */*\r\n\r\n"),
          initiator.hello().substr(1), initiator.hello() + "x"})
        ck_text_eq(error_of(acceptor.answer(hello)), "not a dtask peer");
    auto answer = must(acceptor.answer(initiator.hello()));
    for (std::string wrong : {std::string(), answer.substr(0, answer_size - 1), answer + "x",
                              std::string(answer_size, 'x')})
        ck_text_eq(error_of(initiator.prove(wrong)), "not a dtask scheduler or worker");
    for (std::string wrong : {std::string(), std::string(proof_size, '\0'), std::string(31, 'x')})
        ck_text_eq(error_of(acceptor.check(wrong)), "wrong token");
}
END_TEST

START_TEST(test_handshake_of_an_unknown_role) {
    auto secret = token();
    for (auto role : {0, 5, 255}) {
        Initiator initiator(secret, static_cast<Role>(role), 0);
        Acceptor acceptor(secret, 0);
        auto answer = must(acceptor.answer(initiator.hello()));
        ck_contains(error_of(acceptor.check(must(initiator.prove(answer)))), "is not known");
    }
}
END_TEST

START_TEST(test_token_text) {
    auto secret = Token::random();
    ck_assert_uint_eq(secret.hex().size(), 64);
    ck_assert(must(Token::from_hex(secret.hex())).bytes() == secret.bytes());
    for (std::string text :
         {std::string(), std::string(62, 'a'), std::string(66, 'a'), std::string(64, 'g')})
        ck_text_eq(error_of(Token::from_hex(text)), "token: not 64 hexadecimal digits");
}
END_TEST

// Frames

START_TEST(test_frames_of_the_fixtures) {
    auto list = must(fixture_index().member("frames"));
    ck_assert_uint_gt(list.size(), 0);
    for (std::size_t n = 0; n < list.size(); n++) {
        auto row = list.at(n);
        auto bytes = fixture(must(row.string("file")));
        auto read = must(read_frame(bytes));
        ck_text_eq(read.type(), must(row.string("type")).c_str());
        ck_assert(read.payload == bytes_of(row, "payload"));
        // Written again and read again it says the same.
        auto again = must(read_frame(encode_head(read) + read.payload));
        ck_text_eq(again.header.compact(), read.header.compact().c_str());
    }
}
END_TEST

START_TEST(test_bad_frames_of_the_fixtures) {
    auto list = must(fixture_index().member("bad_frames"));
    ck_assert_uint_gt(list.size(), 0);
    for (std::size_t n = 0; n < list.size(); n++) {
        auto row = list.at(n);
        auto file = must(row.string("file"));
        auto bytes = fixture(file);
        auto read = decode_lengths(bytes) ? read_frame(bytes) : Result<Frame>(fail("lengths"));
        bool taken = read.has_value();
        if (read && file.starts_with("bad-submit-"))
            taken = decode_submit(std::move(*read)).has_value();
        else if (read && file.starts_with("bad-graph-"))
            taken = decode_graph(std::move(*read)).has_value();
        ck_assert_msg(!taken, "%s was taken", file.c_str());
    }
}
END_TEST

std::string lengths_of(std::uint32_t header, std::uint32_t payload) {
    std::string bytes;
    for (auto n : {header, payload})
        for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(n >> shift & 0xff);
    return bytes;
}

START_TEST(test_lengths_at_their_limits) {
    auto most = must(decode_lengths(lengths_of(max_header, max_payload)));
    ck_assert_uint_eq(most.header, 16u << 20);
    ck_assert_uint_eq(most.payload, 256u << 20);
    ck_contains(error_of(decode_lengths(lengths_of(max_header + 1, 0))), "over the limit");
    ck_contains(error_of(decode_lengths(lengths_of(2, max_payload + 1))), "over the limit");
    ck_contains(error_of(decode_lengths(lengths_of(UINT32_MAX, UINT32_MAX))), "over the limit");
    for (std::size_t n = 0; n < lengths_size; n++)
        ck_contains(error_of(decode_lengths(std::string(n, '\0'))), "cut short");
}
END_TEST

START_TEST(test_headers_that_are_none) {
    ck_contains(error_of(decode_header("")), "a frame's header: not JSON");
    ck_contains(error_of(decode_header("hello")), "a frame's header: not JSON");
    for (auto text :
         {"[]", "[\"t\"]", "{}", "{\"t\":1}", "{\"t\":null}", "{\"t\":\"\"}", "{\"T\":\"info\"}"})
        ck_contains(error_of(decode_header(text)), "has no type");
    // What a receiver does not know it ignores.
    ck_text_eq(must(must(decode_header("{\"t\":\"x\",\"new\":{\"a\":[1]}}")).string("t")), "x");
}
END_TEST

START_TEST(test_slices) {
    auto parts = must(slices("abcdef", {1, 0, 5}));
    ck_assert((parts == std::vector<std::string_view>{"a", "", "bcdef"}));
    ck_assert(must(slices("", {})).empty());
    ck_assert_uint_eq(must(slices("", {0, 0})).size(), 2);
    ck_contains(error_of(slices("abc", {4})), "more than the payload");
    ck_contains(error_of(slices("abc", {2})), "less than the payload");
    ck_contains(error_of(slices("abc", {})), "less than the payload");
    // Sums that overflow to the right number are still wrong.
    ck_contains(error_of(slices("abc", {UINT64_MAX, 4})), "more than the payload");
    ck_contains(error_of(slices("abc", {1, UINT64_MAX, 3})), "more than the payload");
}
END_TEST

// Records

START_TEST(test_records_of_the_fixtures) {
    auto list = must(fixture_index().member("records"));
    ck_assert_uint_gt(list.size(), 0);
    for (std::size_t n = 0; n < list.size(); n++) {
        auto row = list.at(n);
        auto bytes = fixture(must(row.string("file")));
        auto body = bytes_of(row, "body");
        RecordHead head{static_cast<RecordKind>(must(row.natural("kind"))),
                        *parse_uint(must(row.string("function"))),
                        *parse_uint(must(row.string("task"))), body.size()};
        ck_assert(encode_record_head(head) + body == bytes);
        auto read = decode_record_head(bytes);
        bool from_executor = head.kind >= RecordKind::ready && head.kind <= RecordKind::unblocked &&
                             head.kind != RecordKind::input;
        ck_assert_int_eq(read.has_value(), from_executor);
        if (!read) continue;
        ck_assert(read->kind == head.kind);
        ck_assert_uint_eq(read->task, head.task);
        ck_assert_uint_eq(read->length, body.size());
    }
}
END_TEST

START_TEST(test_record_heads_that_are_none) {
    std::string good = encode_record_head({RecordKind::result, 1, 2, 3});
    for (std::size_t n = 0; n < record_head_size; n++)
        ck_text_eq(error_of(decode_record_head(std::string_view(good).substr(0, n))),
                   "a record's head is cut short");
    for (int kind : {0, 1, 2, 3, 8, 13, 14, 255}) {
        auto bytes = good;
        bytes[0] = static_cast<char>(kind);
        ck_text_eq(error_of(decode_record_head(bytes)),
                   ("a record of kind " + std::to_string(kind)).c_str());
    }
    constexpr std::uint64_t most = max_value + (1 << 20);
    ck_assert_uint_eq(
        must(decode_record_head(encode_record_head({RecordKind::error, 0, 0, most}))).length, most);
    for (auto length : {most + 1, std::uint64_t{1} << 40, UINT64_MAX})
        ck_contains(
            error_of(decode_record_head(encode_record_head({RecordKind::result, 0, 0, length}))),
            "a record of ");
}
END_TEST

Suite *suite() {
    auto s = suite_create("proto");
    auto auth = tcase_create("auth");
    for (auto test : {test_handshakes_of_the_fixtures, test_handshake_with_random_nonces,
                      test_handshake_with_one_bit_changed, test_relay_from_another_port,
                      test_handshake_reflected, test_handshake_cut_short_or_foreign,
                      test_handshake_of_an_unknown_role, test_token_text})
        tcase_add_test(auth, test);
    suite_add_tcase(s, auth);
    auto frames = tcase_create("frame");
    for (auto test : {test_frames_of_the_fixtures, test_bad_frames_of_the_fixtures,
                      test_lengths_at_their_limits, test_headers_that_are_none, test_slices})
        tcase_add_test(frames, test);
    suite_add_tcase(s, frames);
    auto records = tcase_create("record");
    for (auto test : {test_records_of_the_fixtures, test_record_heads_that_are_none})
        tcase_add_test(records, test);
    suite_add_tcase(s, records);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
//
// lib/proto without sockets: handshake, frames, codec and records, each
// against the byte fixtures that the Python side is tested with.
#include "tests/unit/unit.h"

#include <map>

#include "lib/proto/auth.h"
#include "lib/proto/codec.h"
#include "lib/proto/frame.h"
#include "lib/proto/record.h"
#include "tests/unit/fixtures.h"

using namespace dtask;
using namespace dtask::proto;
using dtask::test::bytes_of;
using dtask::test::error_of;
using dtask::test::fixture;
using dtask::test::fixture_index;
using dtask::test::must;

namespace {

Token token() { return must(Token::from_hex(must(fixture_index().string("token")))); }

/// A whole frame of bytes, or why it is none.
Result<Frame> read_frame(std::string_view bytes) {
    auto lengths = decode_lengths(bytes);
    if (!lengths) return fail_from(std::move(lengths));
    ck_assert_uint_eq(bytes.size(), lengths_size + lengths->header + lengths->payload);
    auto header = decode_header(bytes.substr(lengths_size, lengths->header));
    if (!header) return fail_from(std::move(header));
    return Frame{*header, std::string(bytes.substr(lengths_size + lengths->header))};
}

Frame frame(const std::string &file) { return must(read_frame(fixture(file + ".frame"))); }

Frame frame_of(std::string_view header, std::string payload = {}) {
    return {must(Json::parse(header)), std::move(payload)};
}

/// Members that a writer must give as the fixture does, by their JSON text.
void check_members(const Frame &written, const Frame &wanted, std::vector<const char *> names) {
    for (auto name : names)
        ck_text_eq(must(written.header.member(name)).compact(),
                   must(wanted.header.member(name)).compact().c_str());
    ck_text_eq(written.type(), wanted.type().c_str());
    ck_assert(written.payload == wanted.payload);
}

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

// Codec

START_TEST(test_decode_fixtures_of_a_client) {
    auto function = must(decode_function(frame("function-name")));
    ck_assert_uint_eq(function.f, (std::uint64_t{1} << 53) - 1);
    ck_text_eq(function.name, "λ\"\\\n");
    ck_assert(function.pickled == frame("function").payload);

    auto one = must(decode_submit(frame("submit-one")));
    ck_assert_uint_eq(one.retries, 0);
    ck_assert_int_eq(one.priority, 0);
    auto terms = must(decode_submit(frame("submit-terms")));
    ck_assert_uint_eq(terms.timeout_ms, 1500);
    ck_assert((terms.needs.workers == std::vector<std::string>{"n1", "n2.3"}));
    ck_assert((terms.needs.resources == Resources{{"cpus", 2}, {"gpu", 1}}));
    auto three = must(decode_submit(frame("submit-three")));
    ck_assert_uint_eq(three.f, 1);
    ck_assert((three.k == Column{3, 4, (std::uint64_t{1} << 53) - 1}));
    ck_assert_uint_eq(three.retries, 2);
    ck_assert_int_eq(three.priority, -5);
    auto parts = must(slices(three.payload, three.len));
    ck_assert(parts[0] == one.payload);
    auto empty = must(decode_submit(frame("submit-empty-share")));
    ck_assert((empty.len == Column{0, 3}));
    ck_assert(must(decode_submit(frame("submit-unknown-member"))).k.empty());
}
END_TEST

START_TEST(test_decode_fixtures_of_a_worker) {
    auto about = must(decode_register(frame("register").header));
    ck_text_eq(about.name, "n1.0");
    ck_text_eq(about.address, "10.0.0.1:40000");
    ck_assert_uint_eq(about.pid, 4242);
    ck_assert_uint_eq(about.nthreads, 4);
    ck_assert_uint_eq(about.memory_limit, 200 << 20);
    auto unfit = must(decode_unfit(frame("unfit")));
    ck_assert_uint_eq(unfit.task, 3);
    ck_text_eq(unfit.message, "no interface ib0");
    auto done = must(decode_done(frame("done-worker")));
    ck_assert((done.k == Column{11, 12} && done.i == Column{1, 2}));
    ck_assert((done.us == Column{15, 2000000} && done.raised == Column{0, 1}));
    ck_assert_uint_eq(must(slices(done.payload, done.len)).size(), 2);
    auto failure = must(decode_failure(frame("failed-worker")));
    ck_assert(failure.kind == FailureKind::memory);
    ck_assert_uint_eq(failure.limit, 200 << 20);
    ck_assert_uint_eq(failure.peak, 201 << 20);
    ck_assert((must(decode_refs(frame("retracted"))).k == Column{11, 12}));
    ck_assert_uint_eq(must(frame("stat").header.natural("memory")), 30 << 20);
    ck_assert_uint_eq(must(frame("blocked").header.natural("n")), 2);
}
END_TEST

START_TEST(test_decode_fixtures_of_a_scheduler) {
    auto welcome = must(decode_welcome(frame("welcome")));
    ck_assert_uint_gt(welcome.expected, 0);
    must(decode_worker_count(frame("workers")));
    auto run = must(decode_run(frame("run")));
    ck_assert((run.f == Column{1, 1, 9} && run.i == Column{1, 2, 1}));
    auto inputs = must(decode_run(frame("run-inputs")));
    ck_assert((inputs.inputs == Column{0, 2} && inputs.in.size() == 2));
    ck_assert((must(decode_refs(frame("kill"))).i == Column{1, 2}));
    auto info = must(decode_info(frame("info")));
    ck_assert_uint_eq(info.uptime_s, 17);
    ck_assert_uint_eq(info.failed, 4);
    ck_assert_uint_eq(info.workers.size(), 1);
    ck_assert_uint_eq(info.workers[0].queued, 2);
    ck_text_eq(info.workers[0].about.node, "n1");
}
END_TEST

START_TEST(test_encode_as_the_fixtures) {
    auto welcome = frame("welcome");
    check_members(encode(must(decode_welcome(welcome))), welcome,
                  {"id", "engine", "address", "expected", "workers", "nthreads", "memory_limit"});
    auto workers = frame("workers");
    check_members(encode(must(decode_worker_count(workers))), workers, {"n", "expected"});
    auto about = frame("register");
    check_members(
        encode(must(decode_register(about.header))), about,
        {"name", "node", "task", "pid", "nthreads", "concurrency", "memory_limit", "address"});
    auto pong = frame("pong");
    check_members(encode(must(decode_register(pong.header)), "pong"), pong, {"name", "address"});
    auto died = frame("died");
    check_members(encode(must(decode_died(died))), died, {"name", "address", "how"});
    auto unfit = frame("unfit");
    check_members(encode(must(decode_unfit(unfit))), unfit, {"task", "node", "message"});
    for (auto name : {"function", "function-name"}) {
        auto function = frame(name);
        check_members(encode(must(decode_function(function))), function, {"f", "name"});
    }
    auto run = frame("run");
    check_members(encode(must(decode_run(run))), run, {"f", "k", "i", "len"});
    auto inputs = frame("run-inputs");
    check_members(encode(must(decode_run(inputs))), inputs, {"f", "k", "i", "inputs", "in", "len"});
    auto done = frame("done-worker");
    check_members(encode(must(decode_done(done))), done, {"k", "i", "us", "raised", "len"});
    auto failed = frame("failed-worker");
    check_members(encode(must(decode_failure(failed))), failed,
                  {"k", "i", "kind", "message", "signal", "exit", "limit", "peak"});
    for (auto name : {"retract", "kill", "retracted"}) {
        auto refs = frame(name);
        check_members(encode_refs(name, must(decode_refs(refs))), refs, {"k", "i"});
    }
    auto info = frame("info");
    auto written = encode(must(decode_info(info)));
    check_members(
        written, info,
        {"id", "engine", "address", "uptime", "expected", "clients", "began", "uptime_ms"});
    check_members({must(written.header.member("recent")), {}},
                  {must(info.header.member("recent")), {}}, {"ms", "done"});
    check_members({must(written.header.member("failures")).at(0), {}},
                  {must(info.header.member("failures")).at(0), {}},
                  {"name", "client", "k", "ms", "kind", "message", "worker", "node", "tries"});
    check_members({must(written.header.member("tasks")), {}},
                  {must(info.header.member("tasks")), {}},
                  {"waiting", "running", "done", "failed", "retried", "busy_us"});
    check_members({must(written.header.member("workers")).at(0), {}},
                  {must(info.header.member("workers")).at(0), {}},
                  {"name", "node", "task", "pid", "nthreads", "memory_limit", "memory", "running",
                   "queued", "done", "address", "concurrency", "peak", "cpu", "cpu_us",
                   "heard_ms"});
    check_members({must(must(written.header.member("workers")).at(0).member("current")).at(0), {}},
                  {must(must(info.header.member("workers")).at(0).member("current")).at(0), {}},
                  {"name", "client", "k", "ms"});
    auto explained = frame("explained");
    auto again = encode(must(decode_explained(explained)));
    check_members({must(again.header.member("tasks")).at(0), {}},
                  {must(explained.header.member("tasks")).at(0), {}},
                  {"name", "client", "k", "ms", "state", "why", "worker", "address", "id",
                   "instance", "tries", "command", "detail"});
    auto stat = frame("stat-running");
    check_members(encode(must(decode_stat(stat))), stat,
                  {"memory", "peak", "cpu_us", "k", "i", "us"});
    ck_assert(must(decode_stat(frame("stat"))).k.empty());
    auto held = frame("run-held");
    check_members(encode(must(decode_run(held))), held, {"inputs", "in", "held", "len"});
    auto stored = frame("done-stored");
    check_members(encode(must(decode_done(stored))), stored, {"k", "len", "stored"});
    auto keeper = frame("register-store");
    check_members(encode(must(decode_register(keeper.header))), keeper, {"name", "store"});
    auto fetch = frame("fetch");
    check_members(encode(must(decode_fetch(fetch))), fetch, {"d", "size", "from"});
    auto unfetched = frame("unfetched");
    check_members(encode(must(decode_unfetched(unfetched))), unfetched, {"d", "message"});
    auto full = frame("unfetched-full");
    check_members(encode(must(decode_unfetched(full))), full, {"d", "message", "full"});
    auto fetched = frame("fetched");
    check_members(encode_datum("fetched", must(decode_datum(fetched))), fetched, {"d"});
    auto freed = frame("free");
    check_members(encode_data("free", must(decode_data(freed))), freed, {"d"});
    auto bye = frame("bye");
    check_members(encode_bye("the client has ended"), bye, {"why", "code"});
    auto shutdown = frame("shutdown");
    check_members(encode_shutdown(7), shutdown, {"code"});
}
END_TEST

START_TEST(test_values_that_stay) {
    ck_text_eq(must(decode_register(frame("register-store").header)).store,
               "/dev/shm/dtask-12.0-0-abcdef");
    ck_text_eq(must(decode_register(frame("register").header)).store, "");
    auto run = must(decode_run(frame("run-held")));
    ck_assert((run.held == Column{1, 0}));
    ck_assert(must(decode_run(frame("run-inputs"))).held.empty());
    auto done = must(decode_done(frame("done-stored")));
    ck_assert((done.stored == Column{std::uint64_t{3} << 30, 0}));
    ck_assert(must(decode_done(frame("done-worker"))).stored.empty());
    ck_assert(must(decode_failure(frame("failed-missing"))).kind == FailureKind::missing);
    auto fetch = must(decode_fetch(frame("fetch")));
    ck_assert_uint_eq(fetch.data, 10);
    ck_assert_uint_eq(fetch.size, std::uint64_t{3} << 30);
    ck_text_eq(fetch.from, "10.0.0.2:40000");
    ck_text_eq(must(decode_unfetched(frame("unfetched"))).message,
               "10.0.0.2:40000: it is not there");
    ck_assert(!must(decode_unfetched(frame("unfetched"))).full);
    ck_assert(must(decode_unfetched(frame("unfetched-full"))).full);
    ck_assert((must(decode_data(frame("free"))) == Column{10, (std::uint64_t{1} << 53) - 1}));
    auto stored = must(decode_stored(encode(Stored{7, 10, 99, "10.0.0.2:40000"})));
    ck_assert(stored.k == 7 && stored.data == 10 && stored.size == 99);
    ck_text_eq(stored.at, "10.0.0.2:40000");
    auto lost = must(decode_lost_value(encode(LostValue{7, "10.0.0.2:40000"})));
    ck_assert_uint_eq(lost.k, 7);
    ck_text_eq(lost.at, "10.0.0.2:40000");
}
END_TEST

START_TEST(test_columns_of_values_that_stay) {
    auto held = [](const char *column) {
        return decode_run(frame_of(std::string(R"({"t":"run","f":[1],"k":[2],"i":[1],"len":[1],)"
                                               R"("inputs":[1],"in":[1],"held":)") +
                                       column + "}",
                                   "a"));
    };
    ck_assert(held("[1]").has_value());
    ck_contains(error_of(held("[]")), "\"held\" is not as long as the inputs");
    ck_contains(error_of(held("[1,1]")), "\"held\" is not as long as the inputs");
    ck_contains(error_of(held("\"1\"")), "held");
    auto stored = [](const char *column) {
        return decode_done(frame_of(
            std::string(
                R"({"t":"done","k":[2],"i":[1],"us":[1],"raised":[0],"len":[0],"stored":)") +
            column + "}"));
    };
    ck_assert(stored("[70000]").has_value());
    ck_contains(error_of(stored("[]")), "\"stored\" is not as long");
    ck_contains(error_of(stored("[-1]")), "stored");
}
END_TEST

START_TEST(test_encode_results) {
    auto wanted = frame("done");
    Results results;
    results.k = must(wanted.header.column("k"));
    results.len = must(wanted.header.column("len"));
    results.payload = wanted.payload;
    check_members(encode(results), wanted, {"k", "len"});
}
END_TEST

// What a client is told of a failure: each member of the fixture, as it is there.
START_TEST(test_encode_failures) {
    struct {
        const char *file;
        FailureKind kind;
        std::vector<const char *> members;
    } rows[]{
        {"failed-raised", FailureKind::raised, {"message", "worker", "node", "tries"}},
        {"failed-memory",
         FailureKind::memory,
         {"message", "worker", "node", "signal", "limit", "peak", "tries"}},
        {"failed-crashed-signal", FailureKind::crashed, {"message", "signal", "tries"}},
        {"failed-crashed-exit", FailureKind::crashed, {"message", "exit", "tries"}},
        {"failed-cancelled", FailureKind::cancelled, {"message", "worker", "node"}},
        {"failed-too_large", FailureKind::too_large, {"message"}},
        {"failed-lost", FailureKind::lost, {"message"}},
    };
    for (auto &row : rows) {
        auto wanted = frame(row.file);
        auto number = [&](const char *name) {
            return static_cast<std::uint64_t>(wanted.header.integer_or(name, 0));
        };
        Failure m;
        m.k = number("k");
        m.kind = row.kind;
        m.message = wanted.header.string_or("message", "");
        m.worker = wanted.header.string_or("worker", "");
        m.node = wanted.header.string_or("node", "");
        m.signal = number("signal");
        m.exit = number("exit");
        m.limit = number("limit");
        m.peak = number("peak");
        m.tries = number("tries");
        m.payload = wanted.payload;
        row.members.push_back("k");
        row.members.push_back("kind");
        check_members(encode(m), wanted, row.members);
    }
}
END_TEST

// Each member of each message is needed, and of its type.
START_TEST(test_missing_and_mistyped_members) {
    struct {
        const char *file;
        bool (*decodes)(Frame);
        std::vector<const char *> members;
    } rows[]{
        {"function",
         [](Frame f) { return decode_function(std::move(f)).has_value(); },
         {"f", "name"}},
        {"submit-one",
         [](Frame f) { return decode_submit(std::move(f)).has_value(); },
         {"f", "k", "len"}},
        {"graph",
         [](Frame f) { return decode_graph(std::move(f)).has_value(); },
         {"g", "complete", "f", "k", "inputs", "in", "want", "len"}},
        {"run",
         [](Frame f) { return decode_run(std::move(f)).has_value(); },
         {"f", "k", "i", "len"}},
        {"done-worker",
         [](Frame f) { return decode_done(std::move(f)).has_value(); },
         {"k", "i", "us", "raised", "len"}},
        {"failed-worker",
         [](Frame f) { return decode_failure(std::move(f)).has_value(); },
         {"k", "i", "kind", "message", "signal", "exit", "limit", "peak"}},
        {"register",
         [](Frame f) { return decode_register(f.header).has_value(); },
         {"name", "node", "task", "pid", "nthreads", "concurrency", "memory_limit", "address"}},
        {"died", [](Frame f) { return decode_died(f).has_value(); }, {"name", "address", "how"}},
        {"unfit", [](Frame f) { return decode_unfit(f).has_value(); }, {"task", "node", "message"}},
        {"retract", [](Frame f) { return decode_refs(f).has_value(); }, {"k", "i"}},
        {"fetch", [](Frame f) { return decode_fetch(f).has_value(); }, {"d", "size", "from"}},
        {"unfetched", [](Frame f) { return decode_unfetched(f).has_value(); }, {"d", "message"}},
        {"fetched", [](Frame f) { return decode_datum(f).has_value(); }, {"d"}},
        {"free", [](Frame f) { return decode_data(f).has_value(); }, {"d"}},
        {"welcome",
         [](Frame f) { return decode_welcome(f).has_value(); },
         {"id", "engine", "address", "expected", "workers", "nthreads", "memory_limit"}},
        {"workers", [](Frame f) { return decode_worker_count(f).has_value(); }, {"n", "expected"}},
        {"info",
         [](Frame f) { return decode_info(f).has_value(); },
         {"id", "engine", "address", "uptime", "expected", "clients", "tasks", "workers"}},
    };
    for (auto &row : rows) {
        ck_assert_msg(row.decodes(frame(row.file)), "%s", row.file);
        for (auto name : row.members) {
            auto renamed = frame(row.file);
            auto text = renamed.header.compact();
            auto quoted = '"' + std::string(name) + "\":";
            auto at = text.rfind(quoted);
            ck_assert(at != text.npos);
            auto missing = text.replace(at + 1, 1, "_");
            ck_assert_msg(!row.decodes({must(Json::parse(missing)), renamed.payload}),
                          "%s without %s was taken", row.file, name);
            auto mistyped = frame(row.file);
            mistyped.header.set(name, 0.5);
            ck_assert_msg(!row.decodes(std::move(mistyped)), "%s with a wrong %s was taken",
                          row.file, name);
        }
    }
}
END_TEST

START_TEST(test_columns_of_unequal_length) {
    ck_contains(error_of(decode_submit(frame_of(R"({"f":1,"k":[1,2],"len":[3]})", "abc"))),
                "\"len\" is not as long as the other columns");
    ck_contains(
        error_of(decode_run(frame_of(R"({"f":[1],"k":[1,2],"i":[1,1],"len":[1,1]})", "ab"))),
        "\"k\" is not as long");
    ck_contains(error_of(decode_run(frame_of(R"({"f":[],"k":[],"i":[1],"len":[]})"))),
                "\"i\" is not as long");
    ck_contains(
        error_of(decode_done(frame_of(R"({"k":[1],"i":[1],"us":[],"raised":[0],"len":[0]})"))),
        "\"us\" is not as long");
    ck_contains(error_of(decode_refs(frame_of(R"({"k":[1],"i":[]})"))), "\"i\" is not as long");
}
END_TEST

START_TEST(test_lengths_that_do_not_add_up) {
    for (auto len : {"[1,1]", "[2,2]", "[0,0]", "[9223372036854775807,1]"}) {
        auto text = std::string(R"({"f":1,"k":[1,2],"len":)") + len + "}";
        ck_contains(error_of(decode_submit(frame_of(text, "abc"))), "\"len\" adds up to");
    }
}
END_TEST

START_TEST(test_values_out_of_their_range) {
    auto kind = frame("failed-worker");
    kind.header.set("kind", "tired");
    ck_contains(error_of(decode_failure(std::move(kind))), "is not a kind of failure");
    auto none = frame("register");
    none.header.set("concurrency", 0);
    ck_contains(error_of(decode_register(none.header)), "\"concurrency\" is 0");
    // Retries below 0 are none.
    auto submit = frame("submit-three");
    submit.header.set("retries", -3);
    ck_assert_uint_eq(must(decode_submit(std::move(submit))).retries, 0);
    for (auto k : {FailureKind::raised, FailureKind::memory, FailureKind::crashed,
                   FailureKind::cancelled, FailureKind::too_large, FailureKind::lost}) {
        Failure failure;
        failure.kind = k;
        ck_assert(must(decode_failure(encode(failure))).kind == k);
    }
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
    tcase_add_test(auth, test_handshakes_of_the_fixtures);
    tcase_add_test(auth, test_handshake_with_random_nonces);
    tcase_add_test(auth, test_handshake_with_one_bit_changed);
    tcase_add_test(auth, test_relay_from_another_port);
    tcase_add_test(auth, test_handshake_reflected);
    tcase_add_test(auth, test_handshake_cut_short_or_foreign);
    tcase_add_test(auth, test_handshake_of_an_unknown_role);
    tcase_add_test(auth, test_token_text);
    suite_add_tcase(s, auth);
    auto frames = tcase_create("frame");
    tcase_add_test(frames, test_frames_of_the_fixtures);
    tcase_add_test(frames, test_bad_frames_of_the_fixtures);
    tcase_add_test(frames, test_lengths_at_their_limits);
    tcase_add_test(frames, test_headers_that_are_none);
    tcase_add_test(frames, test_slices);
    suite_add_tcase(s, frames);
    auto codec = tcase_create("codec");
    tcase_add_test(codec, test_decode_fixtures_of_a_client);
    tcase_add_test(codec, test_decode_fixtures_of_a_worker);
    tcase_add_test(codec, test_decode_fixtures_of_a_scheduler);
    tcase_add_test(codec, test_encode_as_the_fixtures);
    tcase_add_test(codec, test_values_that_stay);
    tcase_add_test(codec, test_columns_of_values_that_stay);
    tcase_add_test(codec, test_encode_results);
    tcase_add_test(codec, test_encode_failures);
    tcase_add_test(codec, test_missing_and_mistyped_members);
    tcase_add_test(codec, test_columns_of_unequal_length);
    tcase_add_test(codec, test_lengths_that_do_not_add_up);
    tcase_add_test(codec, test_values_out_of_their_range);
    suite_add_tcase(s, codec);
    auto records = tcase_create("record");
    tcase_add_test(records, test_records_of_the_fixtures);
    tcase_add_test(records, test_record_heads_that_are_none);
    suite_add_tcase(s, records);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

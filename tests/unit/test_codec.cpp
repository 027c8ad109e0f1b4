// SPDX-License-Identifier: Apache-2.0
//
// lib/proto's codec against the byte fixtures that the Python side is tested with: each message,
// and what is none.
#include "tests/unit/unit.h"

#include "lib/proto/codec.h"
#include "lib/proto/frame.h"
#include "tests/unit/frames.h"

using namespace dtask;
using namespace dtask::proto;
using dtask::test::error_of;
using dtask::test::fixture;
using dtask::test::frame;
using dtask::test::frame_of;
using dtask::test::must;

namespace {

/// Members that a writer must give as the fixture does, by their JSON text.
void check_members(const Frame &written, const Frame &wanted, std::vector<const char *> names) {
    for (auto name : names)
        ck_text_eq(must(written.header.member(name)).compact(),
                   must(wanted.header.member(name)).compact().c_str());
    ck_text_eq(written.type(), wanted.type().c_str());
    ck_assert(written.payload == wanted.payload);
}

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
    auto output = frame("output");
    check_members(encode(must(decode_output(output))), output, {"k", "i", "out"});
    ck_text_eq(encode(must(decode_output(output))).payload, output.payload);
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
    auto output = must(decode_output(frame("output")));
    ck_assert(output.k == 11 && output.i == 2);
    ck_text_eq(output.output, "one\ntwo\n");
    ck_text_eq(output.errors, "no such\n");
    auto longer = frame("output");
    longer.header.set("out", std::uint64_t{17});
    ck_contains(error_of(decode_output(longer)), "payload");
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
        {"output", [](Frame f) { return decode_output(f).has_value(); }, {"k", "i", "out"}},
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

Suite *suite() {
    auto s = suite_create("codec");
    auto codec = tcase_create("codec");
    for (auto test :
         {test_decode_fixtures_of_a_client, test_decode_fixtures_of_a_worker,
          test_decode_fixtures_of_a_scheduler, test_encode_as_the_fixtures, test_values_that_stay,
          test_columns_of_values_that_stay, test_encode_results, test_encode_failures,
          test_missing_and_mistyped_members, test_columns_of_unequal_length,
          test_lengths_that_do_not_add_up, test_values_out_of_their_range})
        tcase_add_test(codec, test);
    suite_add_tcase(s, codec);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

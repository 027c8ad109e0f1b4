// SPDX-License-Identifier: Apache-2.0
//
// The connection file: what is in it, whose may be written over, and what is none.
#include "tests/unit/unit.h"

#include <filesystem>

#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/net.h"
#include "lib/ev/listener.h"
#include "lib/json/json.h"
#include "runtime/client/connection_file.h"
#include "runtime/client/probe.h"
#include "tests/unit/fixtures.h"
#include "tests/unit/launch_spec.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using dtask::test::error_of;
using dtask::test::must;
using dtask::test::spec;
using dtask::test::token_text;

namespace {

START_TEST(test_connection_file_path) {
    auto s = spec();
    ck_text_eq(client::connection_file_path(s), "/home/u/.dtask/12.3.json");
    s.options.scheduler_file = "files/%j-%s-%N.json";
    ck_text_eq(client::connection_file_path(s), "/home/u/files/12-3-n1.json");
    s.options.scheduler_file = "/tmp/%u.json";
    ck_text_eq(client::connection_file_path(s), ("/tmp/" + user_name() + ".json").c_str());
}
END_TEST

client::Connection connection() {
    return {"12.3", "native", "10.0.0.1:20001", "n1", must(proto::Token::from_hex(token_text)), ""};
}

START_TEST(test_connection_file) {
    test::Scratch scratch;
    auto path = scratch / ".dtask/12.3.json";
    must(client::write_connection_file(path, connection()));
    struct stat about {};
    ck_assert_int_eq(::stat(path.c_str(), &about), 0);
    ck_assert_uint_eq(about.st_mode & 07777, 0600);
    ck_assert_int_eq(::stat((scratch / ".dtask").c_str(), &about), 0);
    ck_assert_uint_eq(about.st_mode & 07777, 0700);
    auto json = must(Json::parse(must(read_file(path))));
    ck_assert_int_eq(must(json.integer("protocol")), 1);
    ck_assert_int_eq(must(json.integer("pid")), ::getpid());
    auto read = must(client::read_connection_file(path));
    ck_text_eq(read.id, "12.3");
    ck_text_eq(read.address, "10.0.0.1:20001");
    ck_text_eq(read.token.hex(), token_text.c_str());

    // Another step's, at the same place, is not ours to remove.
    client::remove_connection_file(path, proto::Token::random());
    ck_assert(std::filesystem::exists(path));
    must(replace_file(scratch / ".dtask/other.json", "", 0600));
    client::remove_connection_file(path, read.token);
    ck_assert(scratch.names() == std::set<std::string>{".dtask"}); // it holds another file
    must(client::write_connection_file(path, connection()));
    std::filesystem::remove(scratch / ".dtask/other.json");
    client::remove_connection_file(path, read.token);
    ck_assert(scratch.names().empty());
    client::remove_connection_file(path, read.token); // nothing there: nothing said
}
END_TEST

START_TEST(test_connection_file_of_dask) {
    test::Scratch scratch;
    auto mine = connection();
    mine.dask = "tls://10.0.0.1:4711";
    must(client::write_connection_file(scratch / "f", mine));
    auto json = must(Json::parse(must(read_file(scratch / "f"))));
    ck_text_eq(must(json.string("address")), "tls://10.0.0.1:4711"); // as Dask reads it
    ck_text_eq(must(json.string("type")), "Scheduler");
    must(json.member("services"));
    must(json.member("started"));
    must(json.member("workers"));
    ck_text_eq(must(client::read_connection_file(scratch / "f")).address, "10.0.0.1:20001");
}
END_TEST

// What may be written over: what a cluster that has ended left behind, and nothing else.
START_TEST(test_connection_file_over_another) {
    test::Scratch scratch;
    auto path = scratch / "f";
    auto other = connection();
    other.token = proto::Token::random();
    other.address = "127.0.0.1:1"; // nobody
    auto mine = connection();
    must(client::may_write_connection_file(path, mine.token)); // nothing there
    must(client::write_connection_file(path, other));
    must(client::write_connection_file(path, mine)); // over a dead one
    ck_text_eq(must(client::read_connection_file(path)).token.hex(), token_text.c_str());
    for (auto text : {"", " \n", "{\"type\": \"Sched", "{\"type\":\"Scheduler\"}",
                      "{\"type\":\"Scheduler\",\"address\":\"tcp://127.0.0.1:1\"}"}) {
        must(replace_file(path, text, 0600));
        must(client::may_write_connection_file(path, mine.token));
    }
    for (auto text : {"print(1)", "[1]", "{\"type\":\"notes\"}"}) {
        must(replace_file(path, text, 0600));
        ck_contains(error_of(client::write_connection_file(path, mine)),
                    path + " exists and is no scheduler file: it is not overwritten");
        ck_text_eq(must(read_file(path)), text);
    }
}
END_TEST

// One of Dask's own schedulers answers, whoever it is.
START_TEST(test_connection_file_of_a_running_dask) {
    test::Scratch scratch;
    ev::Loop loop;
    auto listener = must(ev::Listener::bind(loop, "127.0.0.1", 0, [](Fd, std::string) {}));
    auto address = "tcp://127.0.0.1:" + std::to_string(listener->port());
    must(replace_file(scratch / "f", "{\"type\":\"Scheduler\",\"address\":\"" + address + "\"}",
                      0600));
    auto own = proto::Token::random();
    ck_contains(error_of(client::may_write_connection_file(scratch / "f", own)),
                "is of another scheduler, which is running at " + address);
    listener.reset();
    must(client::may_write_connection_file(scratch / "f", own));
}
END_TEST

START_TEST(test_connection_file_of_the_fixtures) {
    auto read = must(client::read_connection_file(DTASK_SOURCE_DIR
                                                  "/tests/fixtures/protocol/scheduler-file.json"));
    ck_text_eq(read.token.hex(), must(test::fixture_index().string("token")).c_str());
    ck_text_eq(read.address, "10.0.0.1:20001");
}
END_TEST

START_TEST(test_connection_files_that_are_none) {
    test::Scratch scratch;
    ck_contains(error_of(client::read_connection_file(scratch / "none")), "No such file");
    struct {
        const char *text, *why;
    } rows[]{{"", "not JSON"},
             {"[]", "not a dtask scheduler file"},
             {"{\"type\":\"Scheduler\"}", "not a dtask scheduler file"},
             {"{\"type\":\"dtask\"}", "\"token\" is missing"},
             {"{\"type\":\"dtask\",\"token\":\"aa\"}", "not 64 hexadecimal digits"}};
    for (auto &row : rows) {
        must(replace_file(scratch / "f", row.text, 0600));
        ck_contains(error_of(client::read_connection_file(scratch / "f")), row.why);
    }
    must(
        replace_file(scratch / "f", "{\"type\":\"dtask\",\"token\":\"" + token_text + "\"}", 0600));
    ck_contains(error_of(client::read_connection_file(scratch / "f")), "\"address\" is missing");
    ck_contains(error_of(client::write_connection_file(scratch / "f/g/h", connection())),
                "Not a directory");
}
END_TEST

Suite *suite() {
    auto s = suite_create("connection_file");
    auto c = tcase_create("connection_file");
    tcase_set_timeout(c, 20);
    for (auto test : {test_connection_file_path, test_connection_file, test_connection_file_of_dask,
                      test_connection_file_over_another, test_connection_file_of_a_running_dask,
                      test_connection_file_of_the_fixtures, test_connection_files_that_are_none})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

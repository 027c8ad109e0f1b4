// SPDX-License-Identifier: Apache-2.0
//
// The worker of the engine dask between a scheduler that is played in the same loop and a Dask
// worker that is a shell script on descriptor 3: what the one is told of the other.
#include "tests/unit/unit.h"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <optional>

#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/fd.h"
#include "lib/base/log.h"
#include "lib/ev/listener.h"
#include "runtime/dask/worker.h"
#include "tests/unit/scratch.h"
#include "tests/unit/script.h"

using namespace dtask;
using namespace dtask::proto;
using dtask::test::must;

namespace {

constexpr const char *is_told = "read -r line <&3; echo \"$line\" >>\"$HERE/told\"\n";
constexpr const char *serves = "echo '{\"address\":\"tls://h:1\"}' >&3\n";
constexpr const char *stays = "read -r line <&3\n";

struct Played {
    /// `text`: of the script that plays Dask.
    explicit Played(const std::string &text, std::uint64_t memory = 0) : limit(memory) {
        must(log::open("", log::Level::info, logged));
        auto python = scratch / "python";
        std::ofstream(python) << "#!/bin/sh\n" << text;
        ck_assert_int_eq(::chmod(python.c_str(), 0700), 0);
        env.set("PATH", "/usr/bin:/bin");
        env.set("DTASK_PYTHON", python);
        env.set("HERE", scratch.path());
        spec.options.restarts = 1;
        listener = must(ev::Listener::bind(loop, "127.0.0.1", 0, [this](Fd fd, const auto &) {
            link = Link::accept(loop, std::move(fd), token,
                                {.on_open =
                                     [this](Role) {
                                         Welcome welcome;
                                         welcome.address = "tls://s:8786";
                                         welcome.engine = "dask";
                                         link->send(encode(welcome));
                                     },
                                 .on_frame = [this](Frame f) { frames.push_back(std::move(f)); },
                                 .on_closed = [](bool, const std::string &) {}});
        }));
    }
    std::size_t count(const char *type) const {
        return static_cast<std::size_t>(
            std::ranges::count_if(frames, [&](const Frame &f) { return f.type() == type; }));
    }
    const Frame &first(const char *type) const {
        return *std::ranges::find_if(frames, [&](const Frame &f) { return f.type() == type; });
    }
    std::string log_text() const { return must(read_file(logged)); }
    void when(const char *type, std::function<void()> act) {
        script.when(
            type, [this, type] { return count(type) > 0; }, std::move(act));
    }
    /// Who listens proves nothing.
    void nobody_there() {
        listener = must(ev::Listener::bind(loop, "127.0.0.1", 0, [](Fd, const auto &) {}));
    }
    void bye() { link->send(encode_bye("all is done")); }
    void close() { link.reset(); }

    int play() {
        auto address = "127.0.0.1:" + std::to_string(listener->port());
        Register about;
        about.name = "n1.0";
        about.node = "n1";
        about.nthreads = 2;
        dask::Worker worker(loop, token, spec, about, {address}, "127.0.0.1", dial_ms, 60'000, env,
                            worker::Memory(std::nullopt, limit, ::getpid()));
        script.begin();
        int code = must(worker.run());
        script.check_done();
        return code;
    }

    test::Scratch scratch;
    std::string logged = scratch / "log";
    Token token = Token::random();
    model::LaunchSpec spec;
    Env env;
    std::uint64_t limit;
    std::int64_t dial_ms = 30'000;
    ev::Loop loop;
    std::unique_ptr<Link> link;
    std::vector<Frame> frames;
    std::unique_ptr<ev::Listener> listener;
    test::Script script{loop, 30'000};
};

START_TEST(test_it_serves_until_the_end) {
    Played p(std::string(is_told) + serves + stays);
    p.when("stat", [&] { p.bye(); });
    ck_assert_int_eq(p.play(), 0);
    ck_assert_uint_eq(p.count("here"), 1);
    ck_assert_uint_eq(p.count("register"), 1);
    ck_text_eq(must(decode_register(p.first("register").header)).name, "n1.0");
    auto told = must(must(Json::parse(must(read_file(p.scratch / "told")))).member("serve"));
    ck_text_eq(told.string_or("scheduler", ""), "tls://s:8786");
    ck_text_eq(told.string_or("name", ""), "n1.0");
    ck_assert_int_eq(told.integer_or("nthreads", 0), 2);
    ck_assert(must(decode_stat(p.first("stat"))).memory > 0);
}
END_TEST

// Client.retire_workers: it is not wanted any more, and its task stays.
START_TEST(test_it_was_sent_away) {
    Played p(std::string(is_told) + serves + "exit 0");
    p.script.when(
        "its leave", [&] { return test::contains(p.log_text(), "was asked to leave, and has"); },
        [&] { p.bye(); });
    ck_assert_int_eq(p.play(), 0);
    ck_assert_uint_eq(p.count("died"), 0);
    ck_assert_uint_eq(p.count("unfit"), 0);
}
END_TEST

// Client.restart: no death, however often.
START_TEST(test_it_comes_back) {
    Played p(std::string(is_told) + serves + "[ $(wc -l <\"$HERE/told\") -ge 4 ] || exit 75\n" +
             stays);
    auto lines = [&] {
        auto told = read_file(p.scratch / "told");
        return told ? std::ranges::count(*told, '\n') : 0;
    };
    p.script.when(
        "the fourth start", [&] { return lines() == 4; }, [&] { p.bye(); });
    ck_assert_int_eq(p.play(), 0);
    ck_assert_uint_eq(p.count("died"), 0);
    ck_assert_uint_eq(p.count("register"), 1);
}
END_TEST

START_TEST(test_it_dies_too_often) {
    Played p(std::string(is_told) + serves + "exit 3");
    p.when("unfit", [&] { p.close(); });
    ck_assert_int_eq(p.play(), exit_code::unfit);
    ck_assert_uint_eq(p.count("died"), 2);
    const auto &died = p.first("died").header;
    ck_text_eq(died.string_or("how", ""), "ended with exit code 3");
    ck_text_eq(died.string_or("address", ""), "tls://h:1");
    ck_contains(must(decode_unfit(p.first("unfit"))).message,
                "its Dask worker ended with exit code 3; it was restarted 1 times already");
    ck_contains(p.log_text(), "its Dask worker ended with exit code 3; it is restarted");
}
END_TEST

START_TEST(test_it_cannot_load) {
    Played p("echo '{\"failed\":\"no module distributed\"}' >&3; exit 78");
    p.when("unfit", [&] { p.close(); });
    ck_assert_int_eq(p.play(), exit_code::unfit);
    ck_text_eq(must(decode_unfit(p.first("unfit"))).message, "no module distributed");
    ck_assert_uint_eq(p.count("died"), 0);

    Played none("");
    none.env.set("DTASK_PYTHON", "/nonexistent/python");
    none.when("unfit", [&] { none.close(); });
    ck_assert_int_eq(none.play(), exit_code::unfit);
    ck_contains(must(decode_unfit(none.first("unfit"))).message, "/nonexistent/python");
}
END_TEST

// What it says of itself when it dies is told, too.
START_TEST(test_its_last_words) {
    Played p(std::string(is_told) + "echo '{\"failed\":\"no such host\"}' >&3; exit 1");
    p.spec.options.restarts = 0;
    p.when("unfit", [&] { p.close(); });
    ck_assert_int_eq(p.play(), exit_code::unfit);
    ck_text_eq(p.first("died").header.string_or("how", ""), "ended with exit code 1: no such host");
}
END_TEST

START_TEST(test_it_passes_its_limit) {
    constexpr std::uint64_t limit = 64 << 20;
    Played p(std::string(is_told) + serves +
                 "exec " DTASK_TEST_PYTHON
                 " -c 'import os; x = b\"x\" * (512 << 20); os.read(3, 1)'",
             limit);
    p.spec.options.restarts = 0;
    p.when("unfit", [&] { p.close(); });
    ck_assert_int_eq(p.play(), exit_code::unfit);
    ck_contains(p.first("died").header.string_or("how", ""),
                "passed the memory limit of 64M (peak ");
    ck_contains(p.log_text(), "a memory limit of 64M is little for a Dask worker");
}
END_TEST

START_TEST(test_the_scheduler_is_lost) {
    Played p(std::string(is_told) + serves + stays);
    p.when("register", [&] { p.close(); });
    ck_assert_int_eq(p.play(), exit_code::cluster_lost);

    Played nobody(std::string(is_told) + stays);
    nobody.nobody_there();
    nobody.dial_ms = 300;
    ck_assert_int_eq(nobody.play(), exit_code::no_scheduler);
    ck_contains(nobody.log_text(), "the scheduler was not found in 0 s: ");
}
END_TEST

START_TEST(test_signals) {
    Played p(std::string(is_told) + serves + stays);
    p.when("register", [] { ::raise(SIGTERM); });
    ck_assert_int_eq(p.play(), 0);
    // SIGINT says that there will be no scheduler: it is heeded by one that has none.
    Played woken(stays);
    woken.nobody_there();
    woken.script.then([] { ::raise(SIGINT); });
    ck_assert_int_eq(woken.play(), 0);
    Played busy(std::string(is_told) + serves + stays);
    busy.when("register", [] { ::raise(SIGINT); });
    busy.when("stat", [&] { busy.bye(); });
    ck_assert_int_eq(busy.play(), 0);
}
END_TEST

} // namespace

int main() {
    Suite *suite = suite_create("dask worker");
    TCase *cases = tcase_create("dask worker");
    tcase_set_timeout(cases, 120);
    for (auto test : {test_it_serves_until_the_end, test_it_was_sent_away, test_it_comes_back,
                      test_it_dies_too_often, test_it_cannot_load, test_its_last_words,
                      test_it_passes_its_limit, test_the_scheduler_is_lost, test_signals})
        tcase_add_test(cases, test);
    suite_add_tcase(suite, cases);
    return test::run(suite);
}

// SPDX-License-Identifier: Apache-2.0
//
// Dask's scheduler beside our own, played by a shell script on descriptor 3: what it is told, and
// what its end means for the step.
#include "tests/unit/unit.h"

#include <algorithm>
#include <fstream>
#include <optional>

#include <sys/stat.h>

#include "lib/base/fd.h"
#include "lib/base/log.h"
#include "runtime/dask/scheduler.h"
#include "tests/unit/scratch.h"
#include "tests/unit/script.h"
#include "tests/unit/wait.h"

using namespace dtask;
using dtask::test::must;

namespace {

constexpr const char *is_told = "read -r line <&3; echo \"$line\" >>\"$HERE/told\"\n";
constexpr const char *serves =
    "echo '{\"address\":\"tls://h:1\",\"dashboard\":\"http://h:2\"}' >&3\n";

struct Played {
    explicit Played(const std::string &text) {
        must(log::open("", log::Level::warning, scratch / "log"));
        auto python = scratch / "python";
        std::ofstream(python) << "#!/bin/sh\n" << text;
        ck_assert_int_eq(::chmod(python.c_str(), 0700), 0);
        env.set("PATH", "/usr/bin:/bin");
        env.set("DTASK_PYTHON", python);
        env.set("HERE", scratch.path());
    }
    void start() {
        scheduler = must(
            dask::Scheduler::start(loop, spec, "10.0.0.1", env,
                                   {.on_serving = [this](const auto &s) { serving = s; },
                                    .on_lost = [this](const std::string &why) { lost = why; },
                                    .on_unfit = [this](const std::string &why) { unfit = why; },
                                    .on_shutdown = [this] { shut_down = true; }}));
    }
    void until(const char *what, std::function<bool()> come) {
        script.when(what, std::move(come));
        script.then([this] { loop.stop(); });
        script.begin();
        loop.run();
        script.check_done();
    }
    std::string told() const { return must(read_file(scratch / "told")); }

    test::Scratch scratch;
    model::LaunchSpec spec;
    Env env;
    ev::Loop loop;
    std::optional<dask::Serving> serving;
    std::string lost, unfit;
    bool shut_down = false;
    std::unique_ptr<dask::Scheduler> scheduler;
    test::Script script{loop, 30'000};
};

START_TEST(test_it_serves) {
    Played p(std::string(is_told) + serves + is_told + is_told + "exit 3");
    p.start();
    p.until("its address", [&] { return p.serving.has_value(); });
    ck_text_eq(p.serving->address, "tls://h:1");
    ck_text_eq(p.serving->dashboard, "http://h:2");
    ck_contains(p.told(), R"("serve":{"protocol":"tls","host":"10.0.0.1","dashboard":0})");
    p.scheduler->died({"n1.0", "tls://h:3", "ended with exit code 3"});
    p.scheduler->quiet();
    auto lines = [&] {
        auto text = p.told();
        return std::ranges::count(text, '\n');
    };
    p.until("all that it is told", [&] { return lines() == 3; });
    ck_contains(p.told(), R"("died":{"name":"n1.0","address":"tls://h:3","how":"ended with exit)");
    ck_contains(p.told(), R"({"end":1})");
    // Its end is no news any more.
    test::settle(p.loop, 100);
    ck_text_eq(p.lost + p.unfit, "");
}
END_TEST

START_TEST(test_its_client_shuts_it_down) {
    Played p(std::string(is_told) + serves + "exit 0");
    p.start();
    p.until("the news", [&] { return p.shut_down; });
    ck_text_eq(p.lost + p.unfit, "");
}
END_TEST

START_TEST(test_it_is_lost) {
    Played p(std::string(is_told) + serves + "exit 3");
    p.start();
    p.until("its loss", [&] { return !p.lost.empty(); });
    ck_text_eq(p.lost, "Dask's scheduler ended with exit code 3");
}
END_TEST

START_TEST(test_it_is_lost_before_it_serves) {
    Played before("exit 3");
    before.spec.options.tls = false;
    before.start();
    before.until("its loss", [&] { return !before.lost.empty(); });
    ck_assert(!before.serving && before.unfit.empty());
}
END_TEST

START_TEST(test_it_cannot_begin) {
    Played p(std::string(is_told) + "echo '{\"failed\":\"no module distributed\"}' >&3; exit 78");
    p.start();
    p.until("the reason", [&] { return !p.unfit.empty(); });
    ck_text_eq(p.unfit, "no module distributed");
    ck_text_eq(p.lost, "");

    p.scheduler.reset(); // of two loops only one has signals
    Played none("");
    none.env.set("DTASK_PYTHON", "/nonexistent/python");
    auto started = dask::Scheduler::start(none.loop, none.spec, "10.0.0.1", none.env, {});
    ck_contains(test::error_of(started), "/nonexistent/python");
}
END_TEST

} // namespace

int main() {
    Suite *suite = suite_create("dask scheduler");
    TCase *cases = tcase_create("dask scheduler");
    tcase_set_timeout(cases, 120);
    for (auto test : {test_it_serves, test_its_client_shuts_it_down, test_it_is_lost,
                      test_it_is_lost_before_it_serves, test_it_cannot_begin})
        tcase_add_test(cases, test);
    suite_add_tcase(suite, cases);
    return test::run(suite);
}

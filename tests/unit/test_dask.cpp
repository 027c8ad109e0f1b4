// SPDX-License-Identifier: Apache-2.0
//
// A Dask process as ours holds it, played by shell scripts on descriptor 3:
// what it is told, what it says, and how its end is seen.
#include "tests/unit/unit.h"

#include <csignal>
#include <optional>

#include <sys/wait.h>

#include "lib/base/fd.h"
#include "lib/base/log.h"
#include "lib/base/strings.h"
#include "runtime/dask/process.h"
#include "tests/unit/scratch.h"
#include "tests/unit/script.h"

using namespace dtask;
using dtask::dask::Process;
using dtask::test::must;

namespace {

constexpr const char *serves = R"(echo '{"address":"tls://h:1","dashboard":"http://h:2"}' >&3
)";

struct Held {
    explicit Held(const std::string &text) {
        must(log::open("", log::Level::warning, scratch / "log"));
        SpawnSpec spec;
        spec.program = "/bin/sh";
        spec.argv = {"sh", "-c", text};
        spec.env.set("PATH", "/usr/bin:/bin");
        spec.env.set("HERE", scratch.path());
        // Before it starts: it may end at once.
        child.emplace(loop, SIGCHLD, [this] {
            int s;
            if (::waitpid(process->pid(), &s, WNOHANG) > 0) process->on_reaped(s);
        });
        process =
            must(Process::start(loop, spec,
                                {.on_serving = [this](const dask::Serving &s) { serving = s; },
                                 .on_exit = [this](int s) { status = s; }}));
    }
    void play() {
        script.then([this] { loop.stop(); });
        script.begin();
        loop.run();
        script.check_done();
    }
    void until_it_ends() {
        script.when("its end", [this] { return status.has_value(); });
        play();
    }

    test::Scratch scratch;
    ev::Loop loop;
    std::optional<ev::Signal> child;
    std::unique_ptr<Process> process;
    std::optional<dask::Serving> serving;
    std::optional<int> status;
    test::Script script{loop, 20'000};
};

START_TEST(test_it_is_told_and_says_where_it_serves) {
    Held held(std::string("read -r line <&3; echo \"$line\" >\"$HERE/told\"\n") + serves +
              "read -r line <&3; echo \"$line\" >>\"$HERE/told\"; exit 75");
    ck_text_eq(held.process->address(), "");
    held.process->tell(Json::object().set("serve", Json::object().set("name", "n1.0")));
    held.script.when(
        "the address", [&] { return held.serving.has_value(); },
        [&] { held.process->tell(Json::object().set("end", 1)); });
    held.until_it_ends();
    ck_text_eq(held.serving->address, "tls://h:1");
    ck_text_eq(held.serving->dashboard, "http://h:2");
    ck_text_eq(held.process->address(), "tls://h:1");
    ck_text_eq(must(read_file(held.scratch / "told")),
               "{\"serve\":{\"name\":\"n1.0\"}}\n{\"end\":1}\n");
    ck_assert_int_eq(WEXITSTATUS(*held.status), dask::come_back);
}
END_TEST

// Its last words count, though its end is seen in the same turn.
START_TEST(test_it_says_why_it_failed) {
    Held held(R"(echo '{"failed":"no distributed"}' >&3; exit 78)");
    held.until_it_ends();
    ck_text_eq(held.process->why(), "no distributed");
    ck_text_eq(held.process->address(), "");
    ck_assert(!held.serving);
    ck_assert_int_eq(WEXITSTATUS(*held.status), dask::cannot_load);
}
END_TEST

START_TEST(test_what_is_not_of_ours_ends_it) {
    for (auto text : {"echo 'hello' >&3; exec sleep 60", "echo '{\"x\":1}' >&3; exec sleep 60"}) {
        Held held(text);
        held.until_it_ends();
        ck_assert(WIFSIGNALED(*held.status));
        ck_assert_int_eq(WTERMSIG(*held.status), SIGKILL);
        ck_contains(must(read_file(held.scratch / "log")), "from Dask: ");
    }
}
END_TEST

// What it has started goes with it, by itself or when its owner goes.
START_TEST(test_its_children_go_with_it) {
    const std::string child = "sleep 60 & echo $! >\"$HERE/pid\"\n";
    auto gone = [](const std::string &pid) {
        auto status = read_file("/proc/" + std::string(trim(pid)) + "/status");
        return !status || test::contains(*status, "State:\tZ");
    };
    {
        Held held(child + "exit 0");
        held.until_it_ends();
        auto pid = must(read_file(held.scratch / "pid"));
        held.status.reset();
        test::Script after(held.loop, 20'000);
        after.when(
            "the child's end", [&] { return gone(pid); }, [&] { held.loop.stop(); });
        after.begin();
        held.loop.run();
    }
    Held held(child + serves + "exec sleep 60");
    held.script.when("the address", [&] { return held.serving.has_value(); });
    held.play();
    auto pid = must(read_file(held.scratch / "pid"));
    auto leader = held.process->pid();
    held.process.reset();
    int status;
    ck_assert_int_eq(::waitpid(leader, &status, 0), leader);
    ck_assert_int_eq(WTERMSIG(status), SIGKILL);
    held.process.reset();
}
END_TEST

START_TEST(test_command) {
    Env env;
    env.set("PATH", "/usr/bin:/bin");
    env.set("DTASK_PYTHON", "/bin/sh");
    env.set("TMPDIR", "/mine");
    auto spec = must(dask::dask_command("worker", env));
    ck_assert((spec.argv == std::vector<std::string>{"/bin/sh", "-m", "dtask._dask", "worker"}));
    ck_text_eq(spec.env.get_or("TMPDIR", ""), "/mine");
    env.set("DTASK_SCRATCH", "/scratch");
    ck_text_eq(must(dask::dask_command("worker", env)).env.get_or("TMPDIR", ""), "/scratch");
    env.set("DTASK_PYTHON", "no-such-python");
    ck_contains(test::error_of(dask::dask_command("worker", env)), "interpreter of Dask");
}
END_TEST

Suite *suite() {
    auto s = suite_create("dask");
    auto c = tcase_create("dask");
    tcase_set_timeout(c, 90);
    for (auto test : {test_it_is_told_and_says_where_it_serves, test_it_says_why_it_failed,
                      test_what_is_not_of_ours_ends_it, test_its_children_go_with_it, test_command})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
//
// The programs themselves, which were built before their tests: how arguments are read, what help
// and errors look like, and that a cluster comes up on this machine.
#include "tests/unit/unit.h"

#include <csignal>
#include <filesystem>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/fd.h"
#include "lib/base/spawn.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using dtask::test::must;

namespace {

struct Ran {
    int code = 0;
    std::string out, err;
};

std::string program(const char *name) {
    auto self = std::filesystem::read_symlink("/proc/self/exe");
    return self.parent_path().parent_path().parent_path() / name;
}

/// Runs a program of the build directory, in an empty directory, without standard input.
Ran run(const char *name, std::vector<std::string> words,
        const std::vector<std::pair<const char *, const char *>> &variables = {}) {
    test::Scratch scratch;
    std::string names[2] = {scratch / "out", scratch / "err"};
    SpawnSpec spec;
    spec.program = program(name);
    spec.argv = std::move(words);
    spec.argv.insert(spec.argv.begin(), name);
    spec.env = Env::current();
    spec.env.unset_prefix("DTASK");
    for (auto [variable, value] : variables) spec.env.set(variable, value);
    spec.null_stdin = true;
    int before[2] = {::dup(STDOUT_FILENO), ::dup(STDERR_FILENO)};
    auto here = std::filesystem::current_path();
    std::filesystem::current_path(scratch.path());
    for (int n = 0; n < 2; n++) {
        auto file = must(open_file(names[n], O_WRONLY | O_CREAT | O_TRUNC, 0600));
        ::dup2(file.get(), n + 1);
    }
    auto pid = spawn(spec);
    for (int n = 0; n < 2; n++) {
        ::dup2(before[n], n + 1);
        ::close(before[n]);
    }
    std::filesystem::current_path(here);
    int status = 0;
    ck_assert_int_eq(::waitpid(must(std::move(pid)), &status, 0), *pid);
    return {shell_code(status), must(read_file(names[0])), must(read_file(names[1]))};
}

/// It ends with a usage error that is one line and has `text`.
void refused(std::vector<std::string> words, const char *text) {
    auto ran = run("dtask", std::move(words));
    ck_assert_int_eq(ran.code, exit_code::usage);
    ck_text_eq(ran.out, "");
    ck_contains(ran.err, text);
    ck_assert_msg(ran.err.starts_with("dtask") && ran.err.find('\n') + 1 == ran.err.size(), "%s",
                  ran.err.c_str());
}

START_TEST(test_help) {
    auto help = run("dtask", {"--help"});
    ck_assert_int_eq(help.code, 0);
    for (auto command :
         {"run", "map", "status", "top", "explain", "logs", "cancel", "stop", "doctor"})
        ck_contains(help.out, std::string("\n  ") + command + ' ');
    auto run_help = run("dtask", {"run", "--help"}).out;
    ck_contains(run_help, "-n,--ntasks N ");
    ck_contains(run_help, "--dashboard[=");
    ck_assert(!test::contains(run_help, "{on}"));
    ck_contains(run_help, "See dtask-run(1).");
    ck_assert_int_eq(run("dtask", {"--version"}).code, 0);
    ck_contains(run("dtaskd", {"--version"}).out, "dtaskd ");
    ck_contains(run("dtaskd", {"--help"}).out, "dtaskd(8)");
    ck_contains(run("dtaskd", {}).err, "not by hand; accepted: --help, --version");
}
END_TEST

START_TEST(test_wrong_arguments) {
    refused({}, "dtask: no command given; accepted: run, status, ");
    refused({"frob", "-n1"}, "dtask: frob: no such command; accepted: run, status, ");
    refused({"run", "--", "true"}, "--ntasks");
    refused({"run", "-n0", "--", "true"}, "-n");
    refused({"run", "-n2", "--slots", "sideways", "--", "true"}, "--slots=sideways: ");
    refused({"run", "-n2", "--engine", "off", "--", "true"}, "accepted by `dtask run`: native");
    refused({"run", "-n1", "--slots", "dedicated", "--", "true"}, "--slots=dedicated");
    refused({"status", "--scheduler-file", "nowhere"}, "dtask status: scheduler file: nowhere");
    refused({"cancel"}, "accepted are names of tasks, or --all");
    refused({"explain", "[a,b]"}, "\"[a,b]\" is no name of a task"); // as it was given
    refused({"top", "--delay", "0"}, "--delay");
    refused({"map", "--timeout", "x", "prog", ":::", "a"}, "dtask map: --timeout=x: accepted");
    auto twin = run("dtask", {"run", "-n1", "--", "true"}, {{"DTASK_MEMORY", "2X"}});
    ck_assert_int_eq(twin.code, exit_code::usage);
    ck_contains(twin.err, "DTASK_MEMORY=2X: not a size");
}
END_TEST

START_TEST(test_arguments_are_what_they_are) {
    auto ran = run("dtask", {"map", "--dry-run", "prog", "[a,b]", "{}", ":::", "[c,d]", "--help"});
    ck_text_eq(ran.out, "prog '[a,b]' '[c,d]'\nprog '[a,b]' --help\n");
}
END_TEST

START_TEST(test_a_cluster_on_this_machine) {
    auto ran = run("dtask", {"run", "-n1", "-c3", "--dashboard=off", "--", "sh", "-c",
                             "echo $DTASK_NWORKERS $#; exit 7", "sh", "[a,b]"});
    ck_assert_int_eq(ran.code, 7);
    ck_text_eq(ran.out, "1 1\n");
    ran = run("dtask", {"run", "-n2", "--slots=overlap", "--", "no-such-program"});
    ck_assert_int_eq(ran.code, exit_code::not_found);
    ck_contains(ran.err, "no-such-program");
}
END_TEST

// The whole of it: commands as jobs, what is said of them afterwards, and whoever asks meanwhile.
START_TEST(test_a_cluster_at_work) {
    test::Scratch scratch;
    auto dtask = program("dtask"), report = scratch / "report.html", told = scratch / "told";
    // One job waits for the end, so that there is something to ask about.
    auto jobs = "map --progress none -k 'echo {}; test {} != 3 || sleep 1000' ::: 1 2 3";
    auto script = dtask + ' ' + jobs + " & job=$!; " + "until " + dtask +
                  " status --json | tr -d ' \n' | grep -q '\"done\":2'; do n=$((n + 1)); [ $n -lt "
                  "1000 ] || exit 99; sleep 0.05; done; { " +
                  dtask + " status --ping; " + dtask + " logs scheduler; " + dtask +
                  " explain 3; " + dtask + " explain 9; " + dtask + " cancel 9; " + dtask +
                  " cancel 3; } >" + told + " 2>&1; wait $job; code=$?; " + dtask +
                  " stop >/dev/null 2>&1 & sleep 1000; exit $code";
    auto ran = run("dtask", {"run", "-n1", "-c3", "--dashboard", "--report=" + report, "--", "sh",
                             "-c", script});
    ck_assert_msg(ran.code == exit_code::signal_base + SIGTERM, "%d: %s", ran.code,
                  ran.err.c_str()); // by dtask stop
    ck_text_eq(ran.out, "1\n2\n");
    ck_contains(ran.err, "dtask: dashboard: http://127.0.0.1:");
    ck_contains(ran.err, "dtask map: job 3 failed: cancelled by dtask cancel");
    ck_contains(ran.err, "dtask: the report is in " + report);
    ck_contains(must(read_file(report)), "<html");
    auto answers = must(read_file(told));
    ck_contains(answers, "1 of 1 workers, 1 client; tasks: 0 waiting, 1 running, 2 done");
    ck_contains(answers, " us ");
    ck_contains(answers, "echo-3: ");
    ck_contains(answers, "dtask explain: no task is called 9");
    ck_contains(answers, "dtask cancel: 9: no task of that name waits or runs");
    ck_contains(answers, "1 task was cancelled\n");
}
END_TEST

START_TEST(test_doctor) {
    auto ran = run("dtask", {"doctor"}, {{"PATH", "/nonexistent"}});
    ck_assert_int_eq(ran.code, 1);
    ck_contains(ran.out, "scontrol");
    ck_contains(run("dtask", {"doctor", "--json"}, {{"PATH", "/nonexistent"}}).out, "\"findings\"");
}
END_TEST

} // namespace

int main() {
    Suite *suite = suite_create("program");
    TCase *cases = tcase_create("program");
    tcase_set_timeout(cases, 120);
    for (auto test : {test_help, test_wrong_arguments, test_arguments_are_what_they_are,
                      test_a_cluster_on_this_machine, test_a_cluster_at_work, test_doctor})
        tcase_add_test(cases, test);
    suite_add_tcase(suite, cases);
    return test::run(suite);
}

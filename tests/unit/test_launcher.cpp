// SPDX-License-Identifier: Apache-2.0
//
// The launcher of a task with all that it starts: scheduler and worker are this program itself,
// and real, unless the test has them play one that fails. What is said goes to a file.
#include "tests/unit/unit.h"

#include <csignal>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/fd.h"
#include "lib/base/net.h"
#include "runtime/cli/tasks.h"
#include "runtime/launch/handover.h"
#include "runtime/launch/launcher.h"
#include "runtime/scheduler/scheduler.h"
#include "runtime/worker/worker.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using dtask::test::must;
namespace fs = std::filesystem;

namespace {

// What a service plays, where it is not real: "exit N", "signal N", "wait", or "tell N": its
// launcher gets that signal. "first signal N": a worker that is real once it was started again.
constexpr const char *play_variable[] = {"TEST_SCHEDULER", "TEST_WORKER"};

int service(Env env, const std::string &what) {
    auto played = env.get_or(play_variable[what == "worker"], "");
    if (played.starts_with("first ")) {
        played.erase(0, 6);
        if (env.get(launch::restart_variable)) played.clear();
    }
    auto number = std::atoi(played.substr(played.find(' ') + 1).c_str());
    if (played.starts_with("exit")) return number;
    if (played.starts_with("signal")) ::raise(number);
    if (played.starts_with("tell")) ::kill(::getppid(), number);
    if (played == "wait" || played.starts_with("tell"))
        for (;;) ::pause();
    return what == "worker" ? worker::main(std::move(env)) : scheduler::main(std::move(env));
}

/// One task of a step, and what its launcher is told.
struct Task {
    Task() {
        spec.token = std::string(64, '7');
        spec.step = static_cast<std::uint32_t>(::getpid());
        spec.ntasks = spec.local_ntasks = 1;
        spec.cpus_per_task = spec.worker_cpus = 1;
        spec.node = spec.scheduler_node = "n0";
        spec.scheduler_host = "127.0.0.1";
        spec.submit_dir = scratch.path();
        spec.options.slots = model::SlotMode::overlap;
        spec.options.scratch = scratch.path();
        spec.options.timeout_s = 60;
        env = Env::current();
        for (auto name : {"DTASK_SCHEDULER_FILE", "DTASK_TOKEN", "DTASK_LOG"}) env.unset(name);
    }
    /// Two tasks, of which the second has nothing but a worker.
    void second_of_two() {
        spec.options.slots = model::SlotMode::packed;
        spec.ntasks = spec.local_ntasks = 2;
        spec.rank = spec.local_rank = 1;
    }
    /// The launcher's exit code. `words`: the client's.
    int launch(std::vector<std::string> words) {
        env.set(model::launch_variable, model::to_text(spec));
        words.insert(words.begin(), "--");
        return launch_as_is(std::move(words));
    }
    int launch_as_is(std::vector<std::string> words) {
        auto file = must(open_file(scratch / "said", O_WRONLY | O_CREAT | O_TRUNC, 0600));
        int before = ::dup(STDERR_FILENO);
        ::dup2(file.get(), STDERR_FILENO);
        int code = launch::main(env, DTASK_SOURCE_DIR "/build/dtaskd", std::move(words));
        ::dup2(before, STDERR_FILENO);
        ::close(before);
        return code;
    }
    int shell(const std::string &script) { return launch({"/bin/sh", "-c", script}); }
    std::string said() const { return must(read_file(scratch / "said")); }
    void check(int code, int expected) const {
        if (code != expected)
            ck_abort_msg("ended with %d, not %d: %s", code, expected, said().c_str());
    }

    test::Scratch scratch;
    model::LaunchSpec spec;
    Env env;
};

START_TEST(test_the_clients_code_is_the_tasks) {
    Task task;
    auto seen = task.scratch / "seen";
    task.check(task.shell("echo $DTASK_NWORKERS $DTASK_NTHREADS >" + seen +
                          "; test -f \"$DTASK_SCHEDULER_FILE\" && test -z \"$DTASK_LAUNCH\" || "
                          "exit 1; exit 7"),
               7);
    ck_text_eq(must(read_file(seen)), "1 1\n");
    // Nothing is left but what the test wrote itself.
    ck_assert(task.scratch.names() == (std::set<std::string>{"said", "seen"}));
    task.check(task.shell("kill -KILL $$"), exit_code::signal_base + SIGKILL);
}
END_TEST

START_TEST(test_commands_that_cannot_be_run) {
    Task task;
    task.check(task.launch({"no-such-program"}), exit_code::not_found);
    ck_contains(task.said(), "no-such-program");
    auto broken = task.scratch / "broken";
    std::ofstream(broken) << "#!/nonexistent/interpreter\n";
    ::chmod(broken.c_str(), 0700);
    task.check(task.launch({broken}), exit_code::cannot_execute);
    ck_contains(task.said(), broken);
}
END_TEST

START_TEST(test_what_is_refused_at_once) {
    Task task;
    task.check(task.launch({}), exit_code::usage);
    ck_contains(task.said(), "no command given");
    task.spec.options.slots = model::SlotMode::dedicated;
    task.check(task.shell("true"), exit_code::usage);
    ck_contains(task.said(), "dedicated");
    task.env.set(model::launch_variable, "rank=0 nonsense");
    task.check(task.launch_as_is({"true"}), exit_code::usage);
    ck_contains(task.said(), "DTASK_LAUNCH");

    Task elsewhere;
    elsewhere.spec.options.worker_interface = "nosuch0";
    elsewhere.check(elsewhere.shell("true"), exit_code::usage);
    ck_contains(elsewhere.said(), "--dtask-interface=nosuch0");

    Task unwritable;
    unwritable.spec.options.scratch = "/proc/nowhere";
    unwritable.check(unwritable.shell("true"), exit_code::usage);
    ck_contains(unwritable.said(), "--dtask-scratch=/proc/nowhere");
}
END_TEST

// In place of argv[0] the command is in the specification.
START_TEST(test_command_of_the_specification) {
    Task task;
    task.spec.argv0 = "/bin/sh";
    task.env.set(model::launch_variable, model::to_text(task.spec));
    task.check(task.launch_as_is({"-c", "exit 5"}), 5);
}
END_TEST

START_TEST(test_a_scheduler_that_fails) {
    Task task;
    task.env.set("TEST_SCHEDULER", "exit 2"); // and has said why
    task.check(task.shell("exit 0"), exit_code::usage);
    task.env.set("TEST_SCHEDULER", "signal 9");
    task.check(task.shell("exit 0"), exit_code::cluster_lost);
    ck_contains(task.said(), "the scheduler was lost: ");
    task.env.set("TEST_SCHEDULER", "wait");
    task.spec.options.timeout_s = 1;
    task.check(task.shell("exit 0"), exit_code::start_timeout);
    ck_contains(task.said(), "the scheduler in task 0 on n0 did not answer in 1 s");
}
END_TEST

START_TEST(test_a_scheduler_that_dies_beside_its_client) {
    Task task;
    auto pid = "kill -KILL $(sed -n 's/.*\"pid\": \\([0-9]*\\).*/\\1/p' \"$DTASK_SCHEDULER_FILE\")";
    task.check(task.shell(std::string("trap '' TERM; ") + pid + "; sleep 60 & wait"),
               exit_code::cluster_lost);
    ck_contains(task.said(), "the scheduler was lost: ");
}
END_TEST

START_TEST(test_workers_that_cannot_serve) {
    Task task;
    task.env.set("TEST_WORKER", "exit 2");
    task.check(task.shell("exit 0"), exit_code::usage);
    ck_contains(task.said(), "its worker could not start");
    ck_contains(task.said(), "no task of the step can run a worker");
    task.env.set("TEST_WORKER", "signal 11");
    task.spec.options.restarts = 1;
    task.check(task.shell("exit 0"), exit_code::usage);
    ck_contains(task.said(), "was restarted 1 times already (--dtask-restarts)");
    // Whose connection breaks comes back, and is no more restarted than any.
    task.env.set("TEST_WORKER", "exit 70");
    task.spec.options.restarts = 0;
    task.check(task.shell("exit 0"), exit_code::usage);
    ck_contains(task.said(), "its worker ended with exit code 70");
}
END_TEST

START_TEST(test_a_worker_is_restarted) {
    Task task;
    task.env.set("TEST_WORKER", "first signal 11");
    task.check(task.shell("exit 3"), 3);
    ck_contains(task.said(), "; it is restarted");
}
END_TEST

// A task with a worker only ends as its worker does.
START_TEST(test_a_task_of_a_worker_alone) {
    for (auto [played, code] : {std::pair{"exit 0", 0},
                                {"exit 69", 0}, // it has said that it is unfit
                                {"exit 71", exit_code::cluster_lost},
                                {"signal 2", 0}}) {
        Task task;
        task.second_of_two();
        task.env.set("TEST_WORKER", played);
        task.check(task.shell("exit 9"), code);
    }
    Task fails; // and there is nobody to tell
    fails.second_of_two();
    fails.spec.options.timeout_s = 1;
    fails.env.set("TEST_WORKER", "exit 2");
    fails.check(fails.shell("exit 9"), 0);
}
END_TEST

START_TEST(test_signals) {
    // The client has them, and decides.
    Task task;
    task.check(task.shell("trap 'exit 9' TERM; kill -TERM $PPID; sleep 60 & wait"), 9);
    // Without Slurm Ctrl-C has reached it already.
    task.check(task.shell("trap 'exit 8' INT; kill -INT $PPID; exit 4"), 4);

    // Before there is one, the step ends.
    Task early;
    early.env.set("TEST_SCHEDULER", "tell 15");
    early.check(early.shell("exit 0"), exit_code::signal_base + SIGTERM);
}
END_TEST

// `dtask stop`, which is the client itself here: it is told to end by SIGTERM.
START_TEST(test_stop) {
    Task task;
    auto self = fs::read_symlink("/proc/self/exe").string();
    task.check(task.launch({self, "stop"}), exit_code::signal_base + SIGTERM);
    ck_contains(task.said(), "the step was told to end by dtask stop");
}
END_TEST

// Tasks that look for a scheduler which will never come are woken by scancel.
START_TEST(test_other_tasks_are_woken) {
    Task task;
    auto scancel = task.scratch / "scancel", woken = task.scratch / "woken";
    std::ofstream(scancel) << "#!/bin/sh\necho \"$@\" >" << woken << '\n';
    ::chmod(scancel.c_str(), 0700);
    task.env.set("PATH", task.scratch.path() + ':' + task.env.get_or("PATH", ""));
    task.spec.job = 77;
    task.spec.step = 3;
    task.spec.ntasks = 2;
    task.spec.options.worker_interface = "nosuch0";
    task.check(task.shell("exit 0"), exit_code::usage);
    ck_text_eq(must(read_file(woken)), "--quiet --signal=INT 77.3\n");
}
END_TEST

// The engine dask gets credentials before anything is started.
START_TEST(test_credentials_of_dask) {
    Task task;
    task.spec.options.engine = model::Engine::dask;
    task.env.set("TEST_SCHEDULER", "exit 2");
    task.env.set("TEST_WORKER", "wait");
    task.check(task.shell("exit 0"), exit_code::usage);
    ck_assert(task.scratch.names() == std::set<std::string>{"said"});
}
END_TEST

} // namespace

int main(int argc, char **argv) {
    if (std::string_view(argv[0]) == "dtaskd") return service(Env::current(), argv[1]);
    if (argc == 2 && std::string_view(argv[1]) == "stop") {
        auto said = cli::stop({}, Env::current());
        return said ? said->code : exit_code::usage;
    }
    Suite *suite = suite_create("launcher");
    TCase *cases = tcase_create("launcher");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, test_the_clients_code_is_the_tasks);
    tcase_add_test(cases, test_commands_that_cannot_be_run);
    tcase_add_test(cases, test_what_is_refused_at_once);
    tcase_add_test(cases, test_command_of_the_specification);
    tcase_add_test(cases, test_a_scheduler_that_fails);
    tcase_add_test(cases, test_a_scheduler_that_dies_beside_its_client);
    tcase_add_test(cases, test_workers_that_cannot_serve);
    tcase_add_test(cases, test_a_worker_is_restarted);
    tcase_add_test(cases, test_a_task_of_a_worker_alone);
    tcase_add_test(cases, test_signals);
    tcase_add_test(cases, test_stop);
    tcase_add_test(cases, test_other_tasks_are_woken);
    tcase_add_test(cases, test_credentials_of_dask);
    suite_add_tcase(suite, cases);
    return test::run(suite);
}

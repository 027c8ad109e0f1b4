// SPDX-License-Identifier: Apache-2.0
//
// What a launcher works out before and after it starts anything: environments, CPUs, places, the
// log, scratch directories, what follows a worker's end.
#include "tests/unit/unit.h"

#include <filesystem>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/fd.h"
#include "runtime/launch/cpus.h"
#include "runtime/launch/descendants.h"
#include "runtime/launch/directories.h"
#include "runtime/launch/environment.h"
#include "runtime/launch/handover.h"
#include "runtime/launch/limits.h"
#include "runtime/launch/place.h"
#include "runtime/launch/restarts.h"
#include "runtime/launch/scratch.h"
#include "tests/unit/launch_spec.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using namespace dtask::launch;
using dtask::test::contains;
using dtask::test::error_of;
using dtask::test::must;
using dtask::test::spec;
using dtask::test::token_text;

namespace {

Env task() {
    Env env;
    env.set("HOME", "/home/u");
    env.set("PMI_RANK", "1");
    env.set("PMIX_ID", "x");
    env.set("SLURM_PROCID", "1");
    return env;
}

std::string value(const Env &env, const char *name) { return env.get_or(name, "(unset)"); }

bool holds_token(const Env &env) {
    for (auto &entry : env.strings())
        if (contains(entry, token_text)) return true;
    return false;
}

// Environments

START_TEST(test_client_environment) {
    ClusterFacts facts{"10.0.0.1:20001", "/home/u/.dtask/12.3.json", 8, 4, 1 << 30};
    Env nested = task();
    nested.set("DTASK_STORE", "/dev/shm/of-a-step-around"); // no place for a client
    auto env = client_environment(nested, spec(), facts, "/usr/share/dtask/python");
    ck_text_eq(value(env, "DTASK_STORE"), "(unset)");
    ck_text_eq(value(env, "DTASK_ADDRESS"), "10.0.0.1:20001");
    ck_text_eq(value(env, "DTASK_TOKEN"), token_text.c_str());
    ck_text_eq(value(env, "DTASK_SCHEDULER_FILE"), "/home/u/.dtask/12.3.json");
    ck_text_eq(value(env, "DTASK_ENGINE"), "native");
    ck_text_eq(value(env, "DTASK_NWORKERS"), "8");
    ck_text_eq(value(env, "DTASK_NTHREADS"), "4");
    ck_text_eq(value(env, "DTASK_MEMORY_LIMIT"), "1073741824");
    ck_text_eq(value(env, "PYTHONPATH"), "/usr/share/dtask/python");
    ck_text_eq(value(env, "PMI_RANK"), "1"); // MPI is the client's
    ck_text_eq(value(env, "OMP_NUM_THREADS"), "(unset)");
    ck_assert(!env.get(handover_variable));
    ck_assert(!env.get(model::launch_variable));
    ck_text_eq(value(env, "DASK_SCHEDULER_ADDRESS"), "(unset)");
}
END_TEST

START_TEST(test_python_path_is_appended_once) {
    Env env = task();
    env.set("PYTHONPATH", "/mine:/other");
    auto client = client_environment(env, spec(), {}, "/p");
    ck_text_eq(value(client, "PYTHONPATH"), "/mine:/other:/p"); // nothing of the user's is hidden
    ck_text_eq(value(client_environment(client, spec(), {}, "/p"), "PYTHONPATH"),
               "/mine:/other:/p");
}
END_TEST

START_TEST(test_service_environment) {
    auto env = service_environment(task(), spec(), "/usr/bin/python3", "/p");
    ck_text_eq(value(env, "HOME"), "/home/u");
    ck_text_eq(value(env, "PMI_RANK"), "(unset)"); // a service is no rank of anything
    ck_text_eq(value(env, "PMIX_ID"), "(unset)");
    ck_text_eq(value(env, "SLURM_PROCID"), "1");
    ck_text_eq(value(env, "DTASK_TOKEN"), "(unset)");
    // What it takes over is the specification, and then nothing of it is left.
    auto taken = must(take_handover(env));
    ck_assert(taken == spec());
    ck_assert(!env.get(handover_variable));
    ck_assert(!holds_token(env));
    ck_contains(error_of(take_handover(env)), "not by hand");
    env.set(handover_variable, "token=secret\n");
    auto error = error_of(take_handover(env));
    ck_assert(!contains(error, "secret"));
    ck_assert(!env.get(handover_variable));
}
END_TEST

START_TEST(test_worker_environment) {
    auto env = worker_environment(task(), spec(), "/opt/python3", "/home/u/scripts",
                                  {"/tmp/s", "/dev/shm/s"}, "/p");
    ck_text_eq(value(env, "DTASK_PYTHON"), "/opt/python3");
    ck_text_eq(value(env, "DTASK_CLIENT_PATH"), "/home/u/scripts");
    ck_text_eq(value(env, "DTASK_SCRATCH"), "/tmp/s");
    ck_text_eq(value(env, "DTASK_STORE"), "/dev/shm/s");
    for (auto name :
         {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"})
        ck_text_eq(value(env, name), "4");
    ck_text_eq(value(env, "PMI_RANK"), "(unset)");
    ck_text_eq(value(env, "PYTHONPATH"), "/p");

    auto shared = spec();
    shared.options.concurrency = 3;
    Env set = task();
    set.set("OMP_NUM_THREADS", "2");                     // the user's stays
    set.set("DTASK_STORE", "/dev/shm/of-a-step-around"); // is not ours
    auto other = worker_environment(set, shared, "python3", "", {}, "/p");
    ck_text_eq(value(other, "OMP_NUM_THREADS"), "2");
    ck_text_eq(value(other, "MKL_NUM_THREADS"), "1");
    ck_text_eq(value(other, "DTASK_CLIENT_PATH"), "(unset)");
    ck_text_eq(value(other, "DTASK_SCRATCH"), "(unset)");
    ck_text_eq(value(other, "DTASK_STORE"), "(unset)");
    shared.options.concurrency = 9; // more than CPUs: still one thread each
    ck_text_eq(value(worker_environment(task(), shared, "p", "", {}, "/p"), "OMP_NUM_THREADS"),
               "1");
}
END_TEST

START_TEST(test_dask_environment) {
    auto plain = dask_environment(task(), {}, "/scratch");
    ck_text_eq(value(plain, "DASK_TEMPORARY_DIRECTORY"), "/scratch");
    ck_text_eq(value(plain, "DASK_LOGGING__DISTRIBUTED"), "warning");
    ck_text_eq(value(plain, "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME"), "(unset)");
    Env chatty = task();
    chatty.set("DASK_LOGGING__DISTRIBUTED", "info");
    chatty.set("DASK_TEMPORARY_DIRECTORY", "/mine");
    auto secure = dask_environment(chatty, {"/a.pem", "/c.pem", "/k.pem"}, "/scratch");
    ck_text_eq(value(secure, "DASK_TEMPORARY_DIRECTORY"), "/mine");
    ck_text_eq(value(secure, "DASK_LOGGING__DISTRIBUTED"), "info");
    ck_text_eq(value(secure, "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"), "True");
    ck_text_eq(value(secure, "DASK_DISTRIBUTED__COMM__TLS__CA_FILE"), "/a.pem");
    for (auto role : {"SCHEDULER", "WORKER", "CLIENT"}) {
        auto base = "DASK_DISTRIBUTED__COMM__TLS__" + std::string(role);
        ck_text_eq(value(secure, (base + "__CERT").c_str()), "/c.pem");
        ck_text_eq(value(secure, (base + "__KEY").c_str()), "/k.pem");
    }
    auto dask = spec();
    dask.options.engine = model::Engine::dask;
    auto env = client_environment(secure, dask, {"tls://10.0.0.1:4711", "", 1, 1, 0}, "/p");
    ck_text_eq(value(env, "DASK_SCHEDULER_ADDRESS"), "tls://10.0.0.1:4711");
    ck_text_eq(value(env, "PYTHONPATH"), "/p/dtask/_shims:/p");
}
END_TEST

cpu_set_t cpus(std::initializer_list<int> list) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int cpu : list) CPU_SET(cpu, &set);
    return set;
}

// CPUs

START_TEST(test_cpus_are_split) {
    auto plan = must(model::plan(model::SlotMode::packed, 4, 4));
    auto split = split_cpus(cpus({2, 3, 8, 9}), model::role_of(plan, 0), 4);
    ck_assert(split.services && split.worker);
    auto services = cpus({2, 3}), worker = cpus({8, 9});
    ck_assert(CPU_EQUAL(&*split.services, &services));
    ck_assert(CPU_EQUAL(&*split.worker, &worker));
    // Slurm does not bind: the mask is the node's.
    auto wide = split_cpus(cpus({0, 1, 2, 3, 4, 5}), model::role_of(plan, 0), 4);
    ck_assert(!wide.services && !wide.worker);
    auto other = split_cpus(cpus({4, 5, 6, 7}), model::role_of(plan, 1), 4);
    ck_assert(!other.services && !other.worker); // a worker only
    auto overlap = must(model::plan(model::SlotMode::overlap, 4, 4));
    auto shared = split_cpus(cpus({0, 1, 2, 3}), model::role_of(overlap, 0), 4);
    ck_assert(!shared.services && !shared.worker);
    auto narrow = must(model::plan(model::SlotMode::packed, 4, 2));
    auto none = split_cpus(cpus({0, 1}), model::role_of(narrow, 0), 2);
    ck_assert(!none.services && !none.worker); // no worker beside the client
}
END_TEST

// Places

START_TEST(test_scheduler_candidates) {
    auto s = spec();
    ck_text_eq(cluster_id(s), "12.3");
    auto all = must(scheduler_candidates(s));
    ck_assert_uint_eq(all.size(), 16);
    for (auto &one : all) ck_assert(one.starts_with("10.0.0.1:2"));
    s.first_port = s.last_port = 4711;
    ck_assert((must(scheduler_candidates(s)) == std::vector<std::string>{"10.0.0.1:4711"}));
    s.scheduler_host = "fd00::1";
    ck_assert((must(scheduler_candidates(s)) == std::vector<std::string>{"[fd00::1]:4711"}));
    ck_text_eq(must(advertised_host(s)), "fd00::1");
    s.options.scheduler_interface = "none0";
    ck_contains(error_of(advertised_host(s)), "--dtask-interface=none0: no such interface");
}
END_TEST

START_TEST(test_silence_limit) {
    Env env;
    ck_assert_int_eq(must(launch::silence_limit(env)), 60);
    env.set("DTASK_SILENCE", "4");
    ck_assert_int_eq(must(launch::silence_limit(env)), 4);
    for (auto wrong : {"", "3", "1m", "-5", "86401"}) {
        env.set("DTASK_SILENCE", wrong);
        auto limit = launch::silence_limit(env);
        ck_assert(!limit);
        ck_text_eq(limit.error().text(), (std::string("DTASK_SILENCE=") + wrong +
                                          ": accepted is a number of seconds from 4 to 86400")
                                             .c_str());
    }
}
END_TEST

START_TEST(test_log_of_a_step) {
    test::Scratch scratch;
    auto s = spec();
    s.submit_dir = scratch.path();
    s.options.log = "log-%j-%t-%N";
    must(open_log(s, "worker"));
    log::info("hello");
    ck_contains(must(read_file(scratch / "log-12-1-n2")), "worker: hello");
    s.options.log = "no/where";
    ck_contains(error_of(open_log(s, "worker")), "--dtask-log=no/where: log: ");
    s.options.log = "";
    must(open_log(s, "worker"));
}
END_TEST

// Scratch

START_TEST(test_scratch_base) {
    test::Scratch scratch;
    Env env;
    ck_text_eq(launch::scratch_base("", env), "/tmp");
    env.set("TMPDIR", scratch.path());
    ck_text_eq(launch::scratch_base("", env), scratch.path().c_str());
    ck_text_eq(launch::scratch_base("/chosen", env), "/chosen");
    // As srun hands it on from a machine that has it.
    env.set("TMPDIR", scratch / "elsewhere");
    ck_text_eq(launch::scratch_base("", env), "/tmp");
    ck_text_eq(launch::scratch_base(scratch / "elsewhere", env), (scratch / "elsewhere").c_str());
    must(replace_file(scratch / "file", "", 0600));
    env.set("TMPDIR", scratch / "file");
    ck_text_eq(launch::scratch_base("", env), "/tmp");
}
END_TEST

START_TEST(test_scratch) {
    test::Scratch base;
    std::string path;
    {
        auto made = must(launch::Scratch::make(base.path(), "12.3", 4));
        path = made.path();
        ck_assert(path.starts_with(base / "dtask-12.3-4-"));
        struct stat about {};
        ck_assert_int_eq(::stat(path.c_str(), &about), 0);
        ck_assert_uint_eq(about.st_mode & 07777, 0700);
        must(make_directories(path + "/deep/er", 0700));
        launch::Scratch moved = std::move(made);
        ck_assert(std::filesystem::exists(path));
    }
    ck_assert(base.names().empty());
    ck_contains(error_of(launch::Scratch::make(base / "none", "12.3", 0)),
                "no directory can be made in it: No such file");
}
END_TEST

// A killed launcher's is swept by the next one; a living one's, and what is
// not ours, is let alone.
START_TEST(test_scratch_is_swept) {
    test::Scratch base;
    auto living = must(launch::Scratch::make(base.path(), "1.0", 0));
    auto abandoned = [&](const std::string &name, mode_t mode) {
        must(make_directories(base / name, mode));
        must(replace_file(base / (name + "/.dtask-scratch"), "", 0600));
    };
    abandoned("dtask-1.0-7-abcdef", 0700);
    must(make_directories(base / "dtask-1.0-7-abcdef/x", 0700));
    abandoned("dtask-other", 0700);                            // no step's name
    abandoned("dtask-1.0-8-public", 0755);                     // not private
    must(make_directories(base / "dtask-1.0-6-marker", 0700)); // without a marker
    must(replace_file(base / "dtask-1.0-9-a_file", "", 0700));
    ck_assert_int_eq(::symlink("/", (base / "dtask-1.0-5-a_link").c_str()), 0);
    {
        auto next = must(launch::Scratch::make(base.path(), "2.0", 0));
        ck_assert(std::filesystem::exists(living.path()));
        ck_assert(!std::filesystem::exists(base / "dtask-1.0-7-abcdef"));
    }
    for (auto name : {"dtask-other", "dtask-1.0-8-public", "dtask-1.0-6-marker",
                      "dtask-1.0-9-a_file", "dtask-1.0-5-a_link"})
        ck_assert_msg(base.names().contains(name), "%s was removed", name);
}
END_TEST

// A task's directories: the store in shared memory, or else on disk.
START_TEST(test_directories) {
    test::Scratch disk, memory;
    auto s = spec();
    s.options.engine = model::Engine::native;
    Env env;
    env.set("TMPDIR", disk.path());
    {
        auto made = must(launch::Directories::make(s, env, memory.path()));
        ck_assert(made.scratch().starts_with(disk / "dtask-"));
        ck_assert(made.store().starts_with(memory / "dtask-"));
        must(replace_file(made.store() + "/7", "value", 0600));
        auto moved = std::move(made);
        ck_assert(std::filesystem::exists(moved.store() + "/7"));
    }
    ck_assert(disk.names().empty() && memory.names().empty());
    {
        auto made = must(launch::Directories::make(s, env, memory / "none"));
        ck_text_eq(made.store(), made.scratch() + "/store");
        ck_assert(std::filesystem::is_directory(made.store()));
    }
    ck_assert(disk.names().empty());
    s.options.engine = model::Engine::dask; // Dask's workers keep their own
    ck_text_eq(must(launch::Directories::make(s, env, memory.path())).store(), "");
    s.options.scratch = disk / "none";
    ck_contains(error_of(launch::Directories::make(s, env, memory.path())),
                "--dtask-scratch=" + disk.path() + "/none: no directory can be made in it");
}
END_TEST

int exited(int code) { return code << 8; } // as waitpid says it

// Restarts

START_TEST(test_restarts) {
    using What = Restarts::Verdict::What;
    Restarts restarts(2);
    // One that has never served ends with its cluster.
    auto lost = restarts.after(exited(exit_code::no_scheduler), {});
    ck_assert(lost.what == What::over);
    ck_assert_int_eq(lost.code, exit_code::cluster_lost);
    for (std::int64_t pause : {100, 200}) {
        auto again = restarts.after(SIGKILL, {});
        ck_assert(again.what == What::again);
        ck_assert_int_eq(again.pause_ms, pause);
        ck_text_eq(again.why, "the worker ended with signal 9 (Killed); it is restarted");
    }
    // A connection that broke is another matter than a death.
    auto redial = restarts.after(exited(exit_code::cluster_lost), {});
    ck_assert(redial.what == What::again && redial.pause_ms == 0 && redial.why.empty());
    ck_assert_uint_eq(restarts.count(), 3);
    auto unfit = restarts.after(exited(1), {});
    ck_assert(unfit.what == What::unfit);
    ck_text_eq(unfit.why, "its worker ended with exit code 1 and was restarted 2 times already "
                          "(--dtask-restarts)");
    // Which code a cluster ends with that it was in, others say.
    auto after = restarts.after(exited(exit_code::no_scheduler), {});
    ck_assert(after.what == What::over && after.code == 0);
    for (int i = 1; i < 20; i++)
        ck_assert(restarts.after(exited(exit_code::cluster_lost), {}).what == What::again);
    ck_assert(restarts.after(exited(exit_code::cluster_lost), {}).what == What::unfit);
}
END_TEST

// What the worker's end means where the task was told something, or has nothing else to do.
START_TEST(test_restarts_of_a_task_that_ends) {
    using What = Restarts::Verdict::What;
    const Restarts::Task plain{}, alone{.alone = true}, terminated{.terminated = true},
        woken{.alone = true, .interrupted = true};
    struct {
        int status;
        Restarts::Task task;
        What what;
    } rows[]{
        {exited(0), plain, What::over},
        {exited(exit_code::unfit), plain, What::over},
        {SIGTERM, terminated, What::over},
        {SIGTERM, plain, What::again},
        {SIGINT, alone, What::over}, // scancel has woken it
        {SIGINT, plain, What::again},
        {exited(exit_code::usage), woken, What::over},
        {exited(exit_code::usage), alone, What::unfit},
        {exited(exit_code::usage), plain, What::unfit},
    };
    for (auto &row : rows) {
        auto verdict = Restarts(1).after(row.status, row.task);
        ck_assert_msg(verdict.what == row.what, "row %d", int(&row - rows));
        ck_assert_int_eq(verdict.code, 0);
    }
}
END_TEST

// Limits

// What a value asks for and nobody holds is refused; what is automatic is only told.
START_TEST(test_limits_that_nobody_holds) {
    test::Scratch nothing;
    auto s = spec();
    s.cgroup_root = nothing.path();
    model::Role worker{.worker = true, .worker_cpus = 4};
    ck_text_eq(without_group(s, worker, {}), "");
    s.worker_memory = 64 << 20;
    ck_text_eq(without_group(s, worker, {}), "memory");
    s.worker_cpu_quota_us = 400'000;
    ck_text_eq(without_group(s, worker, {}), "memory,cpus");
    must(check_limits(s, worker));

    must(model::parse(s.options, "dtask-cpus", "quota"));
    ck_text_eq(error_of(check_limits(s, worker)),
               "--dtask-cpus=quota: cannot be enforced on this node; accepted: auto or none");
    must(model::parse(s.options, "dtask-memory", "64M"));
    ck_text_eq(error_of(check_limits(s, worker)),
               "--dtask-memory=64M: cannot be enforced on this node; accepted: auto or none");
    s.job = 0; // without Slurm the watch is what there is
    must(check_limits(s, worker));
    s.job = 12;
    s.worker_memory = s.worker_cpu_quota_us = 0; // the step has no such limit
    must(check_limits(s, worker));
}
END_TEST

// Descendants

// Everything below is gone when it returns, orphans and those that ignore
// signals too.
START_TEST(test_descendants_are_killed) {
    adopt_orphans();
    int ends[2];
    ck_assert_int_eq(::pipe2(ends, O_CLOEXEC), 0);
    Fd read_end(ends[0]), write_end(ends[1]);
    for (int n = 0; n < 3; n++)
        if (::fork() == 0) {
            ::signal(SIGTERM, SIG_IGN);
            if (::fork() == 0) { // an orphan as soon as its parent is killed
                ::setsid();
                for (;;) ::pause();
            }
            for (;;) ::pause();
        }
    write_end.reset();
    kill_descendants();
    ck_assert_int_eq(::waitpid(-1, nullptr, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
    ck_text_eq(must(read_all(read_end.get())), ""); // nobody holds the pipe any more
    kill_descendants();
}
END_TEST

Suite *suite() {
    auto s = suite_create("launch_env");
    auto c = tcase_create("launch_env");
    tcase_set_timeout(c, 20);
    for (auto test :
         {test_client_environment, test_python_path_is_appended_once, test_service_environment,
          test_worker_environment, test_dask_environment, test_cpus_are_split,
          test_scheduler_candidates, test_silence_limit, test_log_of_a_step, test_scratch_base,
          test_scratch, test_directories, test_restarts, test_restarts_of_a_task_that_ends,
          test_limits_that_nobody_holds, test_scratch_is_swept, test_descendants_are_killed})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
//
// lib/base/spawn: what a child finds, and that a failed start leaves nothing.
#include "tests/unit/unit.h"

#include <csignal>
#include <map>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/spawn.h"
#include "lib/base/strings.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using dtask::test::error_of;
using dtask::test::must;

namespace {

SpawnSpec shell(const std::string &script) {
    SpawnSpec spec;
    spec.program = "/bin/sh";
    spec.argv = {"sh", "-c", script};
    spec.env.set("PATH", "/usr/bin:/bin");
    return spec;
}

int wait_for(pid_t pid) {
    int status = 0;
    ck_assert_int_eq(::waitpid(pid, &status, 0), pid);
    return status;
}

/// What the child writes to descriptor 3.
std::string told_by(SpawnSpec spec) {
    int ends[2];
    ck_assert_int_eq(::pipe2(ends, O_CLOEXEC), 0);
    Fd read_end(ends[0]), write_end(ends[1]);
    spec.pass_fd = write_end.get();
    pid_t pid = must(spawn(spec));
    write_end.reset();
    auto text = must(read_all(read_end.get()));
    ck_assert_int_eq(shell_code(wait_for(pid)), 0);
    return text;
}

START_TEST(test_exit_codes) {
    auto code = wait_for(must(spawn(shell("exit 3"))));
    ck_text_eq(describe_status(code), "exit code 3");
    ck_assert_int_eq(shell_code(code), 3);
    auto killed = wait_for(must(spawn(shell("kill -9 $$"))));
    ck_text_eq(describe_status(killed), "signal 9 (Killed)");
    ck_assert_int_eq(shell_code(killed), 137);
}
END_TEST

START_TEST(test_failed_exec_is_reported) {
    auto spec = shell("");
    spec.program = "/no/such/program";
    ck_text_eq(error_of(spawn(spec)), "/no/such/program: No such file or directory");
    spec.program = "/dev/null";
    ck_text_eq(error_of(spawn(spec)), "/dev/null: Permission denied");
    // It was reaped: no child is left.
    ck_assert_int_eq(::waitpid(-1, nullptr, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
}
END_TEST

// Whatever fails between fork and exec comes back too.
START_TEST(test_failed_preparation_is_reported) {
    auto spec = shell("");
    spec.pass_fd = 999;
    ck_contains(error_of(spawn(spec)), "Bad file descriptor");
    spec = shell("");
    spec.join_fds = {999};
    ck_contains(error_of(spawn(spec)), "Bad file descriptor");
    spec = shell("");
    cpu_set_t none;
    CPU_ZERO(&none);
    spec.cpus = none;
    ck_contains(error_of(spawn(spec)), "Invalid argument");
}
END_TEST

START_TEST(test_arguments_and_environment) {
    auto spec = shell("printf '%s|%s|%s' \"$0\" \"$1\" \"$A\" >&3; env >&3");
    spec.argv.insert(spec.argv.end(), {"zero", "one two"});
    spec.env.set("A", "b c");
    ::setenv("NOT_HANDED_ON", "1", 1);
    auto told = told_by(spec);
    ck_assert(told.starts_with("zero|one two|b c"));
    ck_assert(!test::contains(told, "NOT_HANDED_ON"));
}
END_TEST

START_TEST(test_null_stdin) {
    auto spec = shell("readlink /proc/self/fd/0 >&3");
    spec.null_stdin = true;
    ck_text_eq(told_by(spec), "/dev/null\n");
}
END_TEST

// Nothing but stdio and descriptor 3 reaches the child.
START_TEST(test_descriptors) {
    // What the test itself was started with does not count.
    ck_assert_int_eq(::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC), 0);
    Fd open(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    auto told = told_by(shell("exec ls /proc/self/fd >&3"));
    ck_text_eq(told, "0\n1\n2\n3\n4\n"); // 4 is what ls reads
}
END_TEST

// libcheck has descriptor 3 for itself: a test that needs it gives it back.
class DescriptorThree {
public:
    DescriptorThree() : saved_(::fcntl(3, F_DUPFD_CLOEXEC, 100)) { ::close(3); }
    ~DescriptorThree() {
        ::dup3(saved_, 3, O_CLOEXEC);
        ::close(saved_);
    }

private:
    int saved_;
};

// The pipe that reports a failure may itself stand on descriptor 3.
START_TEST(test_descriptor_three_is_free) {
    int ends[2];
    ck_assert_int_eq(::pipe2(ends, O_CLOEXEC), 0);
    Fd read_end(ends[0]), write_end(ends[1]);
    auto spec = shell("echo here >&3");
    spec.pass_fd = write_end.get();
    Result<pid_t> good = fail(""), bad = fail("");
    {
        DescriptorThree free;
        good = spawn(spec);
        spec.program = "/no/such/program";
        bad = spawn(spec);
    }
    write_end.reset();
    wait_for(must(good));
    ck_text_eq(must(read_all(read_end.get())), "here\n");
    ck_contains(error_of(bad), "No such file or directory");
}
END_TEST

START_TEST(test_passes_descriptor_three_itself) {
    int ends[2];
    ck_assert_int_eq(::pipe2(ends, O_CLOEXEC), 0);
    Fd read_end(ends[0]), write_end(ends[1]);
    auto spec = shell("echo three >&3");
    spec.pass_fd = 3;
    Result<pid_t> pid = fail("");
    {
        DescriptorThree free;
        ::dup3(write_end.get(), 3, O_CLOEXEC);
        pid = spawn(spec);
    }
    write_end.reset();
    wait_for(must(pid));
    ck_text_eq(must(read_all(read_end.get())), "three\n");
}
END_TEST

START_TEST(test_new_group) {
    auto spec = shell("exec sleep 60");
    spec.new_group = true;
    pid_t pid = must(spawn(spec));
    ck_assert_int_eq(::getpgid(pid), pid);
    ck_assert_int_eq(::kill(-pid, SIGKILL), 0);
    ck_assert_int_eq(shell_code(wait_for(pid)), 128 + SIGKILL);
    pid = must(spawn(shell("exec sleep 60")));
    ck_assert_int_eq(::getpgid(pid), ::getpgrp());
    ::kill(pid, SIGKILL);
    wait_for(pid);
}
END_TEST

// The child of a parent that is killed dies, whether or not it wants to.
START_TEST(test_dies_with_parent) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    int ends[2];
    ck_assert_int_eq(::pipe2(ends, O_CLOEXEC), 0);
    Fd read_end(ends[0]), write_end(ends[1]);
    pid_t parent = ::fork();
    if (parent == 0) {
        auto pid = spawn(shell("trap '' TERM HUP; exec sleep 60"));
        (void)write_all(write_end.get(), pid ? std::to_string(*pid) : "0");
        write_end.reset();
        ::pause();
    }
    write_end.reset();
    auto orphan = static_cast<pid_t>(*parse_uint(must(read_all(read_end.get()))));
    ck_assert_int_gt(orphan, 0);
    ::kill(parent, SIGKILL);
    wait_for(parent);
    ck_assert_int_eq(shell_code(wait_for(orphan)), 128 + SIGKILL); // adopted by us
}
END_TEST

// What the parent ignores or blocks, the child does not.
START_TEST(test_signals_are_reset) {
    ::signal(SIGTERM, SIG_IGN);
    ::signal(SIGPIPE, SIG_IGN);
    sigset_t blocked;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGUSR1);
    ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
    auto told = told_by(shell("exec grep -E '^Sig(Blk|Ign)' /proc/self/status >&3"));
    // 32 and 33 belong to the C library: they come as the test was started with them.
    constexpr unsigned long long its_own = 3ull << 31;
    for (auto line : split(trim(told), '\n')) {
        auto mask = std::stoull(std::string(line.substr(line.find(':') + 1)), nullptr, 16);
        ck_assert_msg((mask & ~its_own) == 0, "%s", told.c_str());
    }
}
END_TEST

// Nor does spawn leave the parent's own mask changed, whether it works or fails.
START_TEST(test_mask_is_restored) {
    sigset_t mask, after;
    ::sigemptyset(&mask);
    ::sigaddset(&mask, SIGUSR2);
    ::sigprocmask(SIG_SETMASK, &mask, nullptr);
    wait_for(must(spawn(shell("exit 0"))));
    auto bad = shell("");
    bad.program = "/no/such/program";
    ck_assert(!spawn(bad));
    ::sigprocmask(SIG_SETMASK, nullptr, &after);
    for (int number = 1; number < 32; number++)
        ck_assert_int_eq(::sigismember(&after, number), number == SIGUSR2);
}
END_TEST

START_TEST(test_joins_groups_and_raises_oom_score) {
    test::Scratch scratch;
    auto procs = must(open_file(scratch / "procs", O_WRONLY | O_CREAT, 0600));
    auto spec = shell("cat /proc/$$/oom_score_adj >&3");
    spec.join_fds = {procs.get(), -1};
    spec.oom_score_adj = 500;
    ck_text_eq(told_by(spec), "500\n");
    ck_text_eq(must(read_file(scratch / "procs")), "0");
}
END_TEST

START_TEST(test_cpus) {
    cpu_set_t mine;
    ck_assert_int_eq(::sched_getaffinity(0, sizeof mine, &mine), 0);
    int last = CPU_SETSIZE - 1;
    while (!CPU_ISSET(last, &mine)) last--;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(last, &one);
    auto spec = shell("grep Cpus_allowed_list /proc/$$/status >&3");
    spec.cpus = one;
    ck_text_eq(told_by(spec), ("Cpus_allowed_list:\t" + std::to_string(last) + "\n").c_str());
}
END_TEST

void put_program(const std::string &path, mode_t mode) {
    must(replace_file(path, "#!/bin/sh\n", mode));
}

// What we need for ourselves is not the user's: select() fails beyond 1024.
START_TEST(test_descriptor_limit) {
    rlimit limit{};
    ck_assert_int_eq(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 64;
    ck_assert_int_eq(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    auto hard = std::to_string(limit.rlim_max) + "\n";
    raise_descriptor_limit();
    raise_descriptor_limit(); // the first one's is remembered
    ck_assert_int_eq(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_uint_eq(limit.rlim_cur, limit.rlim_max);
    std::vector<Fd> open; // more than the child may have
    for (int n = 0; n < 100; n++) open.push_back(must(open_file("/dev/null", O_RDONLY)));
    ck_text_eq(told_by(shell("ulimit -Sn >&3")), "64\n");
    auto spec = shell("ulimit -Sn >&3");
    spec.null_stdin = true;
    spec.oom_score_adj = 1;
    ck_text_eq(told_by(spec), "64\n");
    spec.many_descriptors = true;
    ck_text_eq(told_by(spec), hard);
}
END_TEST

START_TEST(test_find_program) {
    test::Scratch scratch;
    must(make_directories(scratch / "one/tool", 0755)); // a directory of that name is no program
    must(make_directories(scratch / "two", 0755));
    must(make_directories(scratch / "three", 0755));
    put_program(scratch / "two/tool", 0644);
    put_program(scratch / "three/tool", 0755);
    auto path = (scratch / "none") + ":" + (scratch / "one") + ":" + (scratch / "two") + ":" +
                (scratch / "three");
    ck_text_eq(must(find_program("tool", path)), (scratch / "three/tool").c_str());
    ck_text_eq(error_of(find_program("tool", scratch / "two")), "tool: command not found");
    ck_text_eq(must(find_program("./tool", "")), "./tool");
    ck_text_eq(error_of(find_program("", path)), "no command given");
    ck_assert(must(find_program("sh", "")).ends_with("/sh"));
    // An empty part of PATH is the current directory.
    ck_assert_int_eq(::chdir((scratch / "three").c_str()), 0);
    ck_text_eq(must(find_program("tool", "/none:")), "./tool");
}
END_TEST

Suite *suite() {
    auto s = suite_create("spawn");
    auto c = tcase_create("spawn");
    tcase_add_test(c, test_exit_codes);
    tcase_add_test(c, test_failed_exec_is_reported);
    tcase_add_test(c, test_failed_preparation_is_reported);
    tcase_add_test(c, test_arguments_and_environment);
    tcase_add_test(c, test_null_stdin);
    tcase_add_test(c, test_descriptors);
    tcase_add_test(c, test_descriptor_three_is_free);
    tcase_add_test(c, test_passes_descriptor_three_itself);
    tcase_add_test(c, test_new_group);
    tcase_add_test(c, test_dies_with_parent);
    tcase_add_test(c, test_signals_are_reset);
    tcase_add_test(c, test_mask_is_restored);
    tcase_add_test(c, test_joins_groups_and_raises_oom_score);
    tcase_add_test(c, test_cpus);
    tcase_add_test(c, test_descriptor_limit);
    tcase_add_test(c, test_find_program);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
//
// Commands as a worker runs them, and the bytes in which they travel.
#include "tests/unit/unit.h"

#include <csignal>
#include <filesystem>
#include <map>

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/quick.h"
#include "lib/base/spawn.h"
#include "lib/base/strings.h"
#include "runtime/worker/commands.h"
#include "runtime/worker/written.h"
#include "tests/unit/scratch.h"
#include "tests/unit/script.h"

using namespace dtask;
using dtask::test::error_of;
using dtask::test::must;
using worker::Commands;

namespace {

struct Bench {
    explicit Bench(std::uint64_t cpus = 4) {
        place.env.set("PATH", "/usr/bin:/bin");
        place.env.set("HOME", "/nowhere");
        place.env.set("OMP_NUM_THREADS", "4");
        place.host = "n1";
        place.cpus = place.threads = cpus;
        place.first_slot = 9;
    }
    void begin(model::Command common = {}, std::uint64_t cpus = 1) {
        commands.emplace(
            loop, std::move(place),
            [this](Commands::Outcome outcome) {
                auto task = outcome.call.task;
                ended.emplace(task, std::move(outcome));
            },
            [this](const worker::Call &, const std::string &output, const std::string &errors) {
                told += output;
                told_errors += errors;
            });
        must(commands->add(1, common.encode(), cpus));
    }
    void start(std::uint64_t task, const model::Command &command, std::uint32_t timeout_ms = 0) {
        worker::Call call{1, task, 1, command.encode()};
        call.timeout_ms = timeout_ms;
        commands->start(std::move(call));
    }
    void reap() {
        int status;
        rusage used{};
        pid_t pid;
        while ((pid = ::wait4(-1, &status, WNOHANG, &used)) > 0)
            commands->on_reaped(pid, status, used);
        commands->settle();
    }
    /// Runs the loop until so many have ended.
    void await(std::size_t count) {
        if (ended.size() >= count) return;
        script.when(
            "the ends", [this, count] { return ended.size() >= count; }, [this] { loop.stop(); });
        script.begin();
        loop.run();
        script.check_done();
    }
    Commands::Outcome run(const model::Command &command, std::uint32_t timeout_ms = 0) {
        auto task = ++last;
        start(task, command, timeout_ms);
        await(ended.size() + (ended.contains(task) ? 0 : 1));
        return std::move(ended.at(task));
    }

    ev::Loop loop;
    Commands::Place place;
    std::optional<Commands> commands;
    std::map<std::uint64_t, Commands::Outcome> ended;
    std::string told, told_errors; ///< while they ran
    std::uint64_t last = 0;
    ev::Signal child{loop, SIGCHLD, [this] { reap(); }};
    test::Script script{loop, 60'000};
};

model::Command shell(const std::string &line) {
    model::Command command;
    command.argv = {"sh", "-c", line};
    return command;
}

START_TEST(test_travels_whole) {
    model::Command command;
    command.argv = {"prog", "", "a\nb", "\xff\xfe"};
    command.set = {"A=b=c", "B="};
    command.unset = {"C"};
    command.directory = "/d";
    command.input = "in";
    command.output = "out";
    command.errors = "err";
    command.memory = 1 << 20;
    command.slot_marks = command.streamed = true;
    model::Command back;
    must(model::Command::decode(command.encode(), back));
    ck_text_eq(back.encode(), command.encode());
    ck_assert(back.argv == command.argv);
    // A task's part is added to what all have in common.
    must(model::Command::decode(shell("x").encode(), back));
    ck_assert_uint_eq(back.argv.size(), 7);

    model::Ended ended;
    ended.exit = 3;
    ended.began_us = UINT64_MAX;
    ended.host = "n1";
    ended.output = std::string("a\0b", 3);
    ended.errors = "e";
    auto bytes = ended.encode();
    auto again = must(model::Ended::decode(bytes));
    ck_assert(again.output == ended.output && again.host == "n1" && again.errors == "e");
    for (std::size_t cut = 0; cut < bytes.size(); cut++)
        (void)error_of(model::Ended::decode(std::string_view(bytes).substr(0, cut)));
    (void)error_of(model::Ended::decode(bytes + "x"));
}
END_TEST

START_TEST(test_what_is_no_command) {
    model::Command into;
    using namespace std::string_view_literals;
    for (auto bytes : {"a"sv, "abc"sv, "\0"sv, "xyz\0"sv, "e=b\0"sv, "ebc\0"sv, "m12x\0"sv})
        (void)error_of(model::Command::decode(bytes, into));
}
END_TEST

START_TEST(test_runs_and_brings_back_what_it_wrote) {
    Bench b;
    b.begin();
    auto outcome = b.run(shell("echo out; echo err >&2; cat; exit 3"));
    ck_assert_uint_eq(outcome.ended.exit, 3);
    ck_assert_uint_eq(outcome.ended.signal, 0);
    ck_text_eq(outcome.ended.output, "out\n");
    ck_text_eq(outcome.ended.errors, "err\n");
    ck_text_eq(outcome.ended.host, "n1");
    ck_assert_uint_gt(outcome.ended.ran_us, 0);
    ck_assert_uint_gt(outcome.ended.peak, 0);
    ck_assert_uint_eq(b.commands->cpus_taken(), 0);
    outcome = b.run(shell("kill -SEGV $$"));
    ck_assert_uint_eq(outcome.ended.signal, SIGSEGV);
}
END_TEST

START_TEST(test_its_surroundings) {
    Bench b;
    test::Scratch scratch;
    model::Command common;
    common.directory = scratch.path();
    common.set = {"A=common", "B=common"};
    common.unset = {"HOME"};
    common.slot_marks = true;
    b.begin(common, 2);
    must(replace_file(scratch / "in", "read\n", 0600));
    auto command = shell("pwd; echo $A $B ${HOME-none} $OMP_NUM_THREADS; cat; echo $0 $DTASK_SLOT");
    command.argv.push_back("{%}");
    command.set = {"A=own"};
    command.input = "in";
    auto outcome = b.run(command);
    ck_text_eq(outcome.ended.output, std::filesystem::canonical(scratch.path()).string() +
                                         "\nown common none 2\nread\n9 9\n");
}
END_TEST

START_TEST(test_no_signal_is_ignored_or_blocked) {
    Bench b;
    ::signal(SIGUSR1, SIG_IGN);
    b.begin();
    // Not of the shell, which blocks signals for a moment where it starts a program.
    auto outcome = b.run(shell("exec grep -E '^Sig(Blk|Ign)' /proc/self/status"));
    auto &said = outcome.ended.output;
    // 32 and 33 are the C library's: posix_spawn leaves them ignored, as make does with us.
    for (std::size_t at = said.find("0000000180000000"); at != std::string::npos;
         at = said.find("0000000180000000"))
        said.replace(at, 16, "0000000000000000");
    ck_text_eq(said, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    outcome = b.run(shell("kill -USR1 $$"));
    ck_assert_uint_eq(outcome.ended.signal, SIGUSR1);
}
END_TEST

START_TEST(test_output_to_files) {
    Bench b;
    test::Scratch scratch;
    model::Command common;
    common.directory = scratch.path();
    b.begin(common);
    auto command = shell("echo out; echo err >&2; exit 1");
    command.output = command.errors = "new/dir/both";
    auto outcome = b.run(command);
    ck_text_eq(outcome.ended.output, "");
    ck_text_eq(outcome.ended.errors, "out\nerr\n"); // the tail of the file
    ck_text_eq(must(read_file(scratch / "new/dir/both")), "out\nerr\n");
    command.output = "o";
    command.errors = scratch / "e";
    b.run(command);
    ck_text_eq(must(read_file(scratch / "o")), "out\n");
    ck_text_eq(must(read_file(scratch / "e")), "err\n");
    command.output = "o/under-a-file";
    outcome = b.run(command);
    ck_assert_uint_eq(outcome.ended.exit, 126);
    ck_contains(outcome.ended.errors, "o/under-a-file");
}
END_TEST

START_TEST(test_what_cannot_be_executed) {
    Bench b;
    test::Scratch scratch;
    b.begin();
    model::Command command;
    command.argv = {"no-such-program"};
    auto outcome = b.run(command);
    ck_assert_uint_eq(outcome.ended.exit, 127);
    ck_contains(outcome.ended.errors, "no-such-program: command not found");
    must(replace_file(scratch / "data", "no program\n", 0600));
    command.argv = {scratch / "data"};
    outcome = b.run(command);
    ck_assert_uint_eq(outcome.ended.exit, 126);
    ck_assert(outcome.pid == 0);
    command = shell("true");
    command.directory = "/no/such/directory";
    outcome = b.run(command);
    ck_assert_uint_eq(outcome.ended.exit, 126);
    ck_contains(outcome.ended.errors, "/no/such/directory: No such file");
    command = shell("true");
    command.input = "/no/such/input";
    ck_contains(b.run(command).ended.errors, "/no/such/input");
    ck_assert_uint_eq(b.run({}).ended.exit, 126);
    // A script without #! is the shell's.
    must(replace_file(scratch / "script", "echo script $1\n", 0700));
    command = {};
    command.argv = {scratch / "script", "arg"};
    ck_text_eq(b.run(command).ended.output, "script arg\n");
    ck_assert_uint_eq(b.commands->cpus_taken(), 0);
}
END_TEST

START_TEST(test_more_output_than_is_brought_back) {
    Bench b;
    b.begin();
    auto outcome = b.run(shell("head -c 17000000 /dev/zero; echo end >&2"));
    ck_assert_uint_eq(outcome.ended.output.size(), model::most_output);
    ck_assert_uint_eq(outcome.ended.lost, 17'000'000 - model::most_output);
    ck_text_eq(outcome.ended.errors, "end\n");
}
END_TEST

START_TEST(test_lines_are_told_while_it_runs) {
    test::Scratch scratch;
    Bench b;
    model::Command common;
    common.streamed = true;
    common.directory = scratch / "";
    b.begin(common);
    b.start(++b.last, shell("echo one; printf 'an err' >&2; until [ -e go ]; do sleep 0.01; done; "
                            "echo or >&2; printf two"));
    b.script.when(
        "its first line", [&] { return !b.told.empty(); },
        [&] {
            ck_text_eq(b.told, "one\n");
            ck_text_eq(b.told_errors, ""); // half a line
            ck_assert(b.ended.empty());
            must(replace_file(scratch / "go", "", 0600));
        });
    b.await(1);
    const auto &ended = b.ended.at(1).ended;
    ck_text_eq(b.told + ended.output, "one\ntwo");
    ck_text_eq(b.told_errors + ended.errors, "an error\n");
    ck_assert_uint_eq(ended.lost, 0);
    // Not what goes to a file.
    auto command = shell("echo three; echo four >&2");
    command.output = command.errors = "file";
    ck_text_eq(b.run(command).ended.output, "");
    ck_text_eq(must(read_file(scratch / "file")), "three\nfour\n");
    ck_text_eq(b.told, "one\n");
}
END_TEST

START_TEST(test_lines_of_a_file) {
    Fd file(::memfd_create("written", MFD_CLOEXEC));
    auto write = [&](const std::string &text) { must(write_all(file.get(), text)); };
    std::size_t told = 0;
    ck_text_eq(worker::take_lines(file, told), "");
    write("a\nb");
    ck_text_eq(worker::take_lines(file, told), "a\n");
    ck_text_eq(worker::take_lines(file, told), "");
    write("c\n\n");
    ck_text_eq(worker::take_lines(file, told), "bc\n\n");
    // A line without an end is not waited for for ever.
    std::string line(std::size_t{3} << 20, 'x');
    write(line);
    std::string got;
    while (got.size() < line.size()) {
        auto part = worker::take_lines(file, told);
        ck_assert(!part.empty());
        got += part;
    }
    ck_assert(got == line);
    write("\nlast");
    ck_text_eq(worker::take_lines(file, told), "\n");
    std::uint64_t lost = 0;
    ck_text_eq(worker::read_first(file, told, 3, lost), "las");
    ck_assert_uint_eq(lost, 1);
    ck_text_eq(worker::read_last(file, 7), "xx\nlast");
    // What was told is not kept twice, but for the end.
    struct stat about {};
    ck_assert_int_eq(::fstat(file.get(), &about), 0);
    ck_assert_int_le(about.st_blocks * 512, 256 << 10);
    ck_text_eq(worker::read_last(Fd(), 7), "");
}
END_TEST

START_TEST(test_timeout_takes_all_that_it_started) {
    Bench b;
    test::Scratch scratch;
    b.begin();
    auto outcome =
        b.run(shell("sleep 600 & echo $! >" + (scratch / "pid") + "; echo partly; wait"), 500);
    ck_assert(outcome.cut == Commands::Cut::overdue);
    ck_assert_uint_eq(outcome.ended.signal, SIGKILL);
    auto child = std::stoi(must(read_file(scratch / "pid")));
    b.script.when(
        "the death of its child",
        [&] {
            auto stat = read_file("/proc/" + std::to_string(child) + "/stat");
            return !stat || stat->find(") Z ") != std::string::npos;
        },
        [&] { b.loop.stop(); });
    b.script.begin();
    b.loop.run();
}
END_TEST

START_TEST(test_memory_limit_of_its_own) {
    Bench b;
    model::Command common;
    common.memory = 64 << 20;
    b.begin(common);
    // The child has it, not the command itself.
    auto outcome = b.run(shell("(head -c 200000000 /dev/zero | tail -c 190000000 | sleep 600)"));
    ck_assert(outcome.cut == Commands::Cut::memory);
    ck_assert_uint_eq(outcome.limit, 64 << 20);
    ck_assert_uint_gt(outcome.ended.peak, 64 << 20);
}
END_TEST

// So that the next one can begin before what it has written is read.
START_TEST(test_its_place_is_free_before_it_is_told) {
    Bench b;
    b.begin({}, 2);
    b.start(1, shell("echo said; exit 5"));
    siginfo_t about{};
    ck_assert_int_eq(::waitid(P_ALL, 0, &about, WEXITED | WNOWAIT), 0);
    int status;
    rusage used{};
    pid_t pid = ::wait4(-1, &status, WNOHANG, &used);
    ck_assert(b.commands->on_reaped(pid, status, used));
    ck_assert_uint_eq(b.commands->cpus_taken(), 0);
    ck_assert(b.ended.empty());
    b.start(2, shell("echo more"));
    b.commands->settle();
    ck_assert_uint_eq(b.ended.at(1).ended.exit, 5);
    ck_text_eq(b.ended.at(1).ended.output, "said\n");
    b.start(3, shell("echo of 3")); // into files that were made beforehand
    b.await(3);
    ck_text_eq(b.ended.at(2).ended.output, "more\n");
    ck_text_eq(b.ended.at(3).ended.output, "of 3\n");
}
END_TEST

START_TEST(test_several_at_a_time_and_dropped) {
    Bench b;
    b.begin({}, 2);
    b.start(1, shell("sleep 600"));
    b.start(2, shell("exit 5"));
    ck_assert_uint_eq(b.commands->cpus_taken(), 4);
    ck_assert_uint_eq(b.commands->pids().size() >= 1, 1);
    b.await(1);
    ck_assert_uint_eq(b.ended.at(2).ended.exit, 5);
    ck_assert(!b.commands->drop(1, 2));
    ck_assert(b.commands->drop(1, 1));
    b.await(2);
    ck_assert(b.ended.at(1).call.dropped);
    ck_assert_uint_eq(b.commands->cpus_taken(), 0);
}
END_TEST

// The process that starts them, a child of this one beside them.
pid_t spawner() {
    auto self = std::to_string(::getpid());
    auto children = must(read_file("/proc/" + self + "/task/" + self + "/children"));
    for (auto child : split(children, ' ')) {
        if (child.empty()) continue;
        auto name = read_file("/proc/" + std::string(child) + "/comm");
        if (name && *name == "dtaskd-spawner\n") return std::stoi(std::string(child));
    }
    return 0;
}

START_TEST(test_who_starts_them) {
    Bench b;
    b.place.join_fds = {-1, -1}; // as where a group is there, without it
    b.begin();
    auto parent = "echo $PPID; cat /proc/self/oom_score_adj";
    auto expected = std::to_string(::getpid()) + "\n" + std::to_string(first_to_die) + "\n";
    ck_text_eq(b.run(shell(parent)).ended.output, expected);
    ck_assert_int_gt(spawner(), 0);
    // Killed, it is started again, and done without in the end.
    for (int times = 0; times < 5; times++) {
        if (auto pid = spawner(); pid > 0) ck_assert_int_eq(::kill(pid, SIGKILL), 0);
        ck_text_eq(b.run(shell(parent)).ended.output, expected);
    }
    ck_assert_int_eq(spawner(), 0);
}
END_TEST

START_TEST(test_texts_longer_than_a_message) {
    Bench b;
    b.place.join_fds = {-1, -1};
    b.begin();
    auto command = shell("echo ${#1} ${#2}");
    command.argv.insert(command.argv.end(),
                        {"sh", std::string(100'000, 'a'), std::string(120'000, 'b')});
    ck_text_eq(b.run(command).ended.output, "100000 120000\n");
}
END_TEST

} // namespace

int main() {
    Suite *suite = suite_create("commands");
    TCase *tcase = tcase_create("commands");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_travels_whole);
    tcase_add_test(tcase, test_what_is_no_command);
    tcase_add_test(tcase, test_runs_and_brings_back_what_it_wrote);
    tcase_add_test(tcase, test_its_surroundings);
    tcase_add_test(tcase, test_no_signal_is_ignored_or_blocked);
    tcase_add_test(tcase, test_output_to_files);
    tcase_add_test(tcase, test_what_cannot_be_executed);
    tcase_add_test(tcase, test_more_output_than_is_brought_back);
    tcase_add_test(tcase, test_lines_are_told_while_it_runs);
    tcase_add_test(tcase, test_lines_of_a_file);
    tcase_add_test(tcase, test_timeout_takes_all_that_it_started);
    tcase_add_test(tcase, test_memory_limit_of_its_own);
    tcase_add_test(tcase, test_its_place_is_free_before_it_is_told);
    tcase_add_test(tcase, test_several_at_a_time_and_dropped);
    tcase_add_test(tcase, test_who_starts_them);
    tcase_add_test(tcase, test_texts_longer_than_a_message);
    suite_add_tcase(suite, tcase);
    return test::run(suite);
}

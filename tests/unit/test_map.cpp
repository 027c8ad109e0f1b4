// SPDX-License-Identifier: Apache-2.0
//
// `dtask map` against a scheduler that is played: what it refuses before it looks for one, and what
// it makes of each outcome of its jobs. No command is run: one's output is what it would be called
// with, and its first argument says how it ends.
#include "tests/unit/unit.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>

#include <fcntl.h>
#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/fd.h"
#include "lib/model/command.h"
#include "runtime/cli/map.h"
#include "tests/fakes/cluster.h"

using namespace dtask;
using namespace dtask::proto;
using cli::MapRequest;
using dtask::fakes::Cluster;
using dtask::test::error_of;
using dtask::test::must;

namespace {

const Env no_env;

MapRequest request_for(std::vector<std::string> command, std::vector<std::string> inputs) {
    MapRequest request;
    request.command = std::move(command);
    request.inputs = std::move(inputs);
    request.progress = "none";
    return request;
}

struct Outcome {
    int code = 0;
    std::string out, err;
};

/// Runs it with standard output and error in files.
Outcome outcome_of(const MapRequest &request, const Env &env = no_env) {
    test::Scratch scratch;
    int before[2] = {::dup(STDOUT_FILENO), ::dup(STDERR_FILENO)};
    std::string names[2] = {scratch / "out", scratch / "err"};
    for (int n = 0; n < 2; n++) {
        auto file = must(open_file(names[n], O_WRONLY | O_CREAT | O_TRUNC, 0600));
        ::dup2(file.get(), n + 1);
    }
    auto code = cli::map(request, env);
    std::cout.flush();
    for (int n = 0; n < 2; n++) {
        ::dup2(before[n], n + 1);
        ::close(before[n]);
    }
    return {must(std::move(code)), must(read_file(names[0])), must(read_file(names[1]))};
}

/// The played scheduler's side of a client.
class Jobs {
public:
    /// Tasks of one submission are answered the last first.
    bool operator()(const Frame &frame, proto::Link &link) {
        if (frame.type() == "function") {
            common_ = {};
            must(model::Command::decode(must(decode_function(frame)).pickled, common_));
        }
        if (frame.type() == "submit") return on_submit(must(decode_submit(frame)), link);
        if (frame.type() == "cancel") {
            for (auto k : must(frame.header.column("k")))
                link.send(failure(k, FailureKind::cancelled, "cancelled", ""));
        }
        return true;
    }

private:
    static Frame failure(std::uint64_t k, FailureKind kind, const char *message,
                         std::string payload) {
        Failure failed;
        failed.k = k;
        failed.kind = kind;
        failed.message = message;
        failed.worker = "n1.0";
        failed.node = "n1";
        failed.payload = std::move(payload);
        return encode(std::move(failed));
    }
    bool on_submit(const Submit &submit, proto::Link &link) {
        auto parts = must(slices(submit.payload, submit.len));
        for (auto n = parts.size(); n-- > 0;) {
            auto command = common_;
            must(model::Command::decode(parts[n], command));
            if (!answer(submit.k[n], command, link)) return false;
        }
        return true;
    }
    bool answer(std::uint64_t k, const model::Command &command, proto::Link &link) {
        model::Ended ended;
        ended.host = "n1";
        for (const auto &word : command.argv) ended.output += word + ' ';
        for (const auto &variable : command.set)
            if (variable.starts_with("MINE=")) ended.output += variable + ' ';
        ended.output.back() = '\n';
        const std::string how = command.argv.size() > 1 ? command.argv[1] : "";
        if (how == "raised") {
            ended.exit = 3;
            ended.errors = "one\ntwo\n";
            link.send(failure(k, FailureKind::raised, "", ended.encode()));
        } else if (how == "signal") {
            ended.signal = SIGKILL;
            link.send(failure(k, FailureKind::raised, "", ended.encode()));
        } else if (how == "lost") {
            link.send(failure(k, FailureKind::lost, "its worker was lost 3 times", ""));
        } else if (how == "cancelled") {
            link.send(failure(k, FailureKind::cancelled, "cancelled", ""));
        } else if (how == "bye") {
            link.send(encode_bye("its time is over"));
        } else if (how == "hang-up") {
            return false;
        } else if (how == "odd") {
            link.send({must(Json::parse(R"({"t":"done","k":[1],"len":[1,1]})")), "xx"});
        } else if (how != "never") {
            if (how == "much") ended.lost = 77;
            Results results;
            results.payload = ended.encode();
            results.k = {k};
            results.len = {results.payload.size()};
            link.send(encode(std::move(results)));
        }
        return true;
    }
    model::Command common_;
};

Cluster cluster(const char *engine = "native") {
    return Cluster(Jobs(), engine, Token::random(), [engine](proto::Link &link) {
        Welcome welcome;
        welcome.id = "7.0";
        welcome.engine = engine;
        welcome.address = "127.0.0.1:1";
        welcome.expected = welcome.workers = 1;
        link.send(encode(welcome));
    });
}

START_TEST(test_what_is_refused) {
    test::Scratch scratch;
    std::filesystem::current_path(scratch.path());
    auto refused = [](auto change) {
        auto request = request_for({"prog", "{}"}, {":::", "a"});
        change(request);
        return error_of(cli::map(request, no_env));
    };
    ck_contains(refused([](auto &r) { r.resume = true; }), "--journal=FILE beside it");
    ck_contains(refused([](auto &r) { r.shell = r.quote = true; }), "exclude each other");
    ck_contains(refused([](auto &r) { r.header = "x"; }), "--header=x: accepted is : (a colon)");
    ck_contains(refused([](auto &r) { r.memory = "2X"; }), "--memory=2X: accepted is a size");
    ck_contains(refused([](auto &r) { r.memory = "0"; }), "--memory=0: accepted is a size");
    for (auto wrong : {"x", "0", "-1", "1w", "1ss", "50d", ""}) {
        auto set = [wrong](auto &r) { r.timeout = *wrong ? wrong : "s"; };
        ck_contains(refused(set), ": accepted is a number of seconds above 0");
    }
    for (auto wrong : {"", "=1"})
        ck_contains(refused([&](auto &r) { r.variables = {wrong}; }),
                    "accepted is NAME, or NAME=VALUE");
    ck_contains(refused([](auto &r) { r.files = {"nowhere"}; }), "nowhere");
    // Names of columns that there are not.
    ck_contains(refused([](auto &r) { r.command = {"prog", "{2}"}; }), "{2}");
    ck_contains(refused([](auto &r) { r.output = "out/{3}"; }), "--output");
    ck_contains(refused([](auto &r) { r.workdir = "{3}"; }), "--workdir");
    ck_contains(refused([](auto &r) { r.variables = {"X={3}"}; }), "--env");
    // And at last, where it all is right:
    ck_contains(refused([](auto &) {}), "to start one: srun --dtask dtask map");
    auto file = scratch / "no-cluster.json";
    std::ofstream(file) << "{}";
    ck_contains(refused([&](auto &r) { r.scheduler_file = file; }), "not a dtask scheduler file");
    Env env;
    env.set("DTASK_ADDRESS", "127.0.0.1:1");
    env.set("DTASK_TOKEN", "short");
    ck_contains(error_of(cli::map(request_for({"prog"}, {":::", "a"}), env)), "DTASK_TOKEN");
}
END_TEST

START_TEST(test_inputs_are_cut_off) {
    MapRequest request;
    auto left = cli::cut_inputs({"-k", "prog", "{}", ":::+", "a", ":::", "b"}, request);
    ck_assert((left == std::vector<std::string>{"-k", "prog", "{}"}));
    ck_assert((request.inputs == std::vector<std::string>{":::+", "a", ":::", "b"}));
    ck_assert_uint_eq(cli::cut_inputs({"prog"}, request).size(), 1);
    ck_assert(request.inputs.empty());
}
END_TEST

START_TEST(test_dry_run) {
    test::Scratch scratch;
    auto file = scratch / "table";
    std::ofstream(file) << "a,b\n1,2\n3,4\n";
    auto request = request_for({"prog", "{b}", "{a}"}, {});
    request.files = {file};
    request.csv = request.dry_run = true;
    ck_text_eq(outcome_of(request).out, "prog 2 1\nprog 4 3\n");
    request.shell = true;
    Env env;
    env.set("SHELL", "/usr/bin/fish"); // which would not understand it
    ck_text_eq(outcome_of(request, env).out, "prog 2 1\nprog 4 3\n");
    auto columns = request_for({"prog", "{2}"}, {"::::", file});
    columns.separator = ",";
    columns.dry_run = true;
    ck_text_eq(outcome_of(columns).out, "prog b\nprog 2\nprog 4\n");
}
END_TEST

START_TEST(test_outcomes) {
    auto c = cluster();
    auto request = request_for({"prog", "{}"}, {":::", "a", "raised", "b", "signal", "lost"});
    request.scheduler_file = c.file;
    auto all = outcome_of(request);
    ck_assert_int_eq(all.code, 1);
    ck_text_eq(all.out, "prog signal\nprog b\nprog raised\nprog a\n"); // as they ended
    ck_contains(all.err, "dtask map: job 2 failed: exit code 3, on worker n1.0: prog raised\n");
    ck_contains(all.err, "one\ntwo\n");
    ck_contains(all.err, "dtask map: job 4 failed: signal 9 (Killed), on worker n1.0: prog signal");
    ck_contains(all.err, "dtask map: job 5 failed: its worker was lost 3 times, on worker n1.0");

    request.inputs = {":::", "a", "b"};
    request.keep_order = request.tag = true;
    request.progress = "lines";
    request.variables = {"MINE=x"};
    all = outcome_of(request);
    ck_assert_int_eq(all.code, 0);
    ck_text_eq(all.out, "a\tprog a MINE=x\nb\tprog b MINE=x\n");
    ck_contains(all.err, "dtask map: 2 jobs in ");

    // A step's client is told where its cluster is.
    Env env;
    env.set("DTASK_ADDRESS", c.address);
    env.set("DTASK_TOKEN", c.token.hex());
    env.set("MINE", "of the client");
    auto cancelled = request_for({"prog", "{}"}, {":::", "cancelled", "much"});
    cancelled.variables = {"MINE", "OTHER"};
    cancelled.progress = "bar";
    all = outcome_of(cancelled, env);
    ck_assert_int_eq(all.code, 1);
    ck_text_eq(all.out, "prog much MINE=of the client\n");
    ck_contains(all.err, "job 1 failed: cancelled by dtask cancel, on worker n1.0");
    ck_contains(all.err, "job 2: 77 bytes of its output were left out; --output writes all of it");
}
END_TEST

// Where errors go to files, the end of one's is told with its failure.
START_TEST(test_errors_in_files) {
    auto c = cluster();
    auto request = request_for({"prog", "{}"}, {":::", "raised"});
    request.scheduler_file = c.file;
    request.output = "out/{#}";
    auto all = outcome_of(request);
    ck_contains(all.err, "prog raised\n  one\n  two\n");
}
END_TEST

START_TEST(test_enough_have_failed) {
    auto c = cluster();
    auto request = request_for({"prog", "{}"}, {":::", "never", "raised"});
    request.scheduler_file = c.file;
    request.max_fails = 1;
    auto all = outcome_of(request);
    ck_assert_int_eq(all.code, 1);
    ck_contains(all.err, "1 jobs have failed (--max-fails): the jobs that run are stopped");
}
END_TEST

START_TEST(test_interrupted) {
    auto c = cluster();
    auto request = request_for({"prog", "{}"}, {":::", "never"});
    request.scheduler_file = c.file;
    auto parent = ::getpid();
    // It is sent for as long as it does nothing: the default would end the test.
    ::signal(SIGTERM, SIG_IGN);
    pid_t sender = ::fork();
    if (sender == 0)
        for (;;) {
            ::usleep(50'000);
            if (::kill(parent, SIGTERM) != 0) ::_exit(0);
        }
    auto all = outcome_of(request);
    ::kill(sender, SIGKILL);
    ::waitpid(sender, nullptr, 0);
    ck_assert_int_eq(all.code, exit_code::signal_base + SIGTERM);
    ck_contains(all.err, "dtask map: told to end: the jobs that run are stopped\n");
}
END_TEST

START_TEST(test_the_cluster_fails) {
    auto c = cluster();
    auto said = [&](const char *how) {
        auto request = request_for({"prog", "{}"}, {":::", how});
        request.scheduler_file = c.file;
        auto all = outcome_of(request);
        ck_assert_int_eq(all.code, exit_code::cluster_lost);
        return all.err;
    };
    ck_contains(said("bye"), "dtask map: the cluster has ended: its time is over\n");
    ck_contains(said("hang-up"), "dtask map: the cluster was lost: closed by the scheduler\n");
    ck_contains(said("odd"), "dtask map: from the scheduler: done: ");

    auto dask = cluster("dask");
    auto request = request_for({"prog"}, {":::", "a"});
    request.scheduler_file = dask.file;
    auto all = outcome_of(request);
    ck_assert_int_eq(all.code, exit_code::usage);
    ck_contains(all.err, "the cluster's engine is dask; accepted: native");
}
END_TEST

START_TEST(test_journal_and_joblog) {
    auto c = cluster();
    test::Scratch scratch;
    auto request = request_for({"prog", "{}"}, {":::", "a", "raised"});
    request.scheduler_file = c.file;
    request.journal = scratch / "journal";
    request.joblog = scratch / "log";
    request.keep_order = true;
    ck_assert_int_eq(outcome_of(request).code, 1);
    auto log = must(read_file(request.joblog));
    ck_contains(log, "Seq\tHost\tStarttime\t");
    ck_contains(log, "\t0\t0\tprog a\n");
    ck_contains(log, "\t3\t0\tprog raised\n");

    // What is done is not done again; what has failed is.
    request.resume = true;
    request.progress = "lines";
    auto again = outcome_of(request);
    ck_assert_int_eq(again.code, 1);
    ck_text_eq(again.out, "prog raised\n");
    ck_contains(again.err, "1 were done before");
    ck_contains(must(read_file(request.joblog)), log); // goes on

    request.joblog = "/nonexistent/log";
    ck_contains(error_of(cli::map(request, no_env)), "job log");
    request.journal = "/nonexistent/journal";
    ck_contains(error_of(cli::map(request, no_env)), "/nonexistent/journal");
}
END_TEST

} // namespace

int main() {
    Suite *suite = suite_create("map");
    TCase *cases = tcase_create("map");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, test_what_is_refused);
    tcase_add_test(cases, test_inputs_are_cut_off);
    tcase_add_test(cases, test_dry_run);
    tcase_add_test(cases, test_outcomes);
    tcase_add_test(cases, test_errors_in_files);
    tcase_add_test(cases, test_enough_have_failed);
    tcase_add_test(cases, test_interrupted);
    tcase_add_test(cases, test_the_cluster_fails);
    tcase_add_test(cases, test_journal_and_joblog);
    suite_add_tcase(suite, cases);
    return test::run(suite);
}

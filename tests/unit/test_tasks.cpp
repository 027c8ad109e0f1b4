// SPDX-License-Identifier: Apache-2.0
//
// What the subcommands of `dtask` that ask a running cluster say to each answer, and to none.
#include "tests/unit/unit.h"

#include <filesystem>

#include "lib/base/fd.h"
#include "runtime/cli/status.h"
#include "runtime/cli/tasks.h"
#include "runtime/cli/top.h"
#include "tests/fakes/cluster.h"

using namespace dtask;
using namespace dtask::cli;
using namespace dtask::proto;
using dtask::fakes::Cluster;
using dtask::test::error_of;
using dtask::test::must;

namespace {

const Env no_env;

Frame frame(const char *header, std::string payload = {}) {
    return {must(Json::parse(header)), std::move(payload)};
}

Explanation running_command(const std::string &address) {
    Explanation told;
    told.task = {"solve-3", 1, 3, 0};
    told.state = "running";
    told.why = "it runs on worker n1.0";
    told.worker = "n1.0";
    told.address = address;
    told.id = 12;
    told.command = true;
    return told;
}

Explanation failed() {
    Explanation told;
    told.task = {"solve-4", 2, 4, 0};
    told.state = "failed";
    told.why = "it failed: ValueError: no";
    told.detail = "first\nsecond\x1b[31m\nthird";
    return told;
}

Frame explained(const std::vector<Explanation> &tasks) { return encode(tasks); }

Frame info_with(const std::vector<std::string> &doors) {
    Info info;
    info.id = "7.0";
    info.engine = "native";
    info.address = "127.0.0.1:9";
    info.expected = doors.size();
    for (const auto &door : doors) {
        WorkerInfo w;
        w.about.name = "n" + std::to_string(info.workers.size()) + ".0";
        w.about.node = "n" + std::to_string(info.workers.size());
        w.about.address = door;
        w.about.nthreads = 2;
        info.workers.push_back(w);
    }
    return encode(info);
}

// Who ends the connection instead of answering.
bool hang_up(const Frame &, proto::Link &) { return false; }

START_TEST(test_explain) {
    Cluster one({{"explain", explained({failed()})}});
    auto said = must(explain({one.file, "solve-4"}, no_env));
    ck_text_eq(said.text, "solve-4: it failed: ValueError: no\n  first\n  second?[31m\n  third\n");
    ck_assert_int_eq(said.code, 0);
    auto json = must(explain({one.file, "solve-4", true}, no_env));
    ck_assert(must(Json::parse(json.text)).has("tasks"));

    // Two clients' are told apart by their clients.
    Cluster two({{"explain", explained({running_command("x:1"), failed()})}});
    said = must(explain({two.file, "4"}, no_env));
    ck_contains(said.text, "1:solve-3: it runs on worker n1.0\n2:solve-4: it failed");

    Cluster none({{"explain", explained({})}});
    said = must(explain({none.file, "solve-9"}, no_env));
    ck_assert_int_eq(said.code, 1);
    ck_text_eq(said.text, "");
    ck_contains(said.error, "no task is called solve-9, and none of the clients");
}
END_TEST

START_TEST(test_who_cannot_be_asked) {
    ck_contains(error_of(explain({"f", "no number"}, no_env)), "no number");
    ck_contains(error_of(explain({"/nonexistent/file", "f-1"}, no_env)), "/nonexistent/file");
    test::Scratch empty;
    std::filesystem::current_path(empty.path());
    ck_contains(error_of(stop({}, no_env)), "no scheduler file in .dtask/ here");

    Cluster dask(Cluster::Answers(), "dask");
    auto error = error_of(explain({dask.file, "f-1"}, no_env));
    ck_contains(error, "the engine of cluster 7.0 is dask, whose tasks only Dask knows");
    ck_text_eq(error_of(cancel({dask.file, {"f-1"}}, no_env)), error);

    Env env; // named by the environment
    env.set("DTASK_SCHEDULER_FILE", dask.file);
    ck_text_eq(error_of(explain({"", "f-1"}, env)), error);

    Cluster closes(hang_up);
    for (const auto &failure :
         {error_of(explain({closes.file, "f-1"}, no_env)), error_of(status({closes.file}, no_env)),
          error_of(stop({closes.file}, no_env)), error_of(cancel({closes.file, {"f-1"}}, no_env)),
          error_of(logs({closes.file, "scheduler"}, no_env)),
          error_of(logs({closes.file, "n0.0"}, no_env))})
        ck_text_eq(failure, "no answer from the scheduler of 7.0: closed by the scheduler");

    // What is no answer.
    Cluster odd({{"explain", frame(R"({"t":"explained"})")}, {"info", frame(R"({"t":"info"})")}});
    ck_contains(error_of(explain({odd.file, "f-1"}, no_env)), "tasks");
    ck_contains(error_of(status({odd.file}, no_env)), "scheduler's answer");
    ck_contains(error_of(logs({odd.file, "n0.0"}, no_env)), "scheduler's answer");
}
END_TEST

START_TEST(test_logs_of_the_scheduler_and_of_workers) {
    auto token = Token::random();
    Cluster door({{"log", frame(R"({"t":"log"})", "a\nb\nc\n")}}, "native", token);
    Cluster quiet({{"log", frame(R"({"t":"log"})")}}, "native", token);
    Cluster closes(hang_up, "native", token);
    auto answers = [&](const char *log) {
        return Cluster::Answers{
            {"info", info_with({door.address, quiet.address, closes.address})},
            {"log", frame(R"({"t":"log"})", log)},
            {"explain", explained({})},
        };
    };
    Cluster cluster(answers("one\ntwo\nthree"), "native", token);
    ck_text_eq(must(logs({cluster.file, "scheduler"}, no_env)).text, "one\ntwo\nthree");
    ck_text_eq(must(logs({cluster.file, "scheduler", 2}, no_env)).text, "two\nthree");
    ck_text_eq(must(logs({cluster.file, "scheduler", 9}, no_env)).text, "one\ntwo\nthree");
    Cluster fresh(answers(""));
    ck_contains(must(logs({fresh.file, "scheduler"}, no_env)).error, "has logged nothing yet");

    ck_text_eq(must(logs({cluster.file, "n0.0", 1}, no_env)).text, "c\n");
    ck_contains(must(logs({cluster.file, "n1.0"}, no_env)).error,
                "worker n1.0 has logged nothing yet");
    auto said = must(logs({cluster.file, "n2.0"}, no_env));
    ck_assert_int_eq(said.code, 1);
    ck_contains(said.error, "worker n2.0 does not answer: ");
    said = must(logs({cluster.file, "n7.0:x"}, no_env));
    ck_contains(said.error, "no worker is called n7.0:x; accepted: a worker's name");
    ck_contains(must(logs({cluster.file, "f-1"}, no_env)).error, "no task is called f-1");
}
END_TEST

// What a task has written is asked of its worker.
START_TEST(test_logs_of_a_task) {
    auto token = Token::random();
    auto of = [&](const std::vector<Explanation> &told) {
        Cluster cluster({{"info", info_with({})}, {"explain", explained(told)}}, "native", token);
        return must(logs({cluster.file, "solve-3", 1}, no_env));
    };
    ck_text_eq(of({failed()}).text, "third");
    auto short_failure = failed();
    short_failure.detail.clear();
    ck_text_eq(of({short_failure}).text, "it failed: ValueError: no\n");
    auto waits = failed();
    waits.state = "waiting";
    waits.why = "it waits for f-1";
    ck_text_eq(of({waits}).error, "solve-4 has written nothing: it waits for f-1\n");
    ck_text_eq(of({failed(), running_command("x:1")}).error,
               "several tasks are called solve-3: 2:solve-4, 1:solve-3\n");
    auto function = running_command("x:1");
    function.command = false;
    ck_contains(of({function}).error, "what a function prints goes to the step's own output");

    Cluster found({{"log", frame(R"({"t":"log","found":1})", "x\ny\n")}}, "native", token);
    ck_text_eq(of({running_command(found.address)}).text, "y\n");
    Cluster ended({{"log", frame(R"({"t":"log","found":0})")}}, "native", token);
    ck_contains(of({running_command(ended.address)}).error, "has just ended: ask again");
    Cluster wordless({{"log", frame(R"({"t":"log","found":1})")}}, "native", token);
    ck_contains(of({running_command(wordless.address)}).error, "has written nothing that is not");
    Cluster closes(hang_up, "native", token);
    ck_contains(of({running_command(closes.address)}).error, "worker n1.0 does not answer: ");
}
END_TEST

START_TEST(test_cancel) {
    auto both = error_of(cancel({"f", {"f-1"}, true}, no_env));
    ck_contains(both, "not both");
    ck_contains(error_of(cancel({"f", {}}, no_env)), "accepted are names of tasks, or --all");
    ck_contains(error_of(cancel({"f", {"f-1", "?"}}, no_env)), "\"?\" is no name of a task");

    auto after = [](const char *answer, const std::vector<std::string> &tasks) {
        Cluster cluster({{"withdraw", frame(answer)}});
        return must(cancel({cluster.file, tasks, tasks.empty()}, no_env));
    };
    auto said = after(R"({"t":"withdrawn","n":1})", {"f-1"});
    ck_text_eq(said.text, "1 task was cancelled\n");
    ck_assert_int_eq(said.code, 0);
    // All of none is what was asked for; one that is not there is not.
    said = after(R"({"t":"withdrawn","n":0})", {});
    ck_text_eq(said.text, "0 tasks were cancelled\n");
    ck_assert_int_eq(said.code, 0);
    ck_assert_int_eq(after(R"({"t":"withdrawn","n":0})", {"f-1"}).code, 1);
    said = after(R"({"t":"withdrawn","n":2,"unknown":["f-9"],"ambiguous":["1:f-2","2:f-2"],
                     "needed":["g-1"]})",
                 {"f-9", "f-2", "g-1"});
    ck_text_eq(said.text, "2 tasks were cancelled\n");
    ck_text_eq(said.error, "f-9: no task of that name waits or runs\n"
                           "1:f-2: one of several tasks of that name; say which one by this\n"
                           "2:f-2: one of several tasks of that name; say which one by this\n"
                           "g-1: other tasks need its value; cancel these\n");
    ck_assert_int_eq(said.code, 1);
}
END_TEST

// What was asked for is what arrives.
START_TEST(test_cancel_asks) {
    Cluster cluster([](const Frame &asked, proto::Link &link) {
        bool right = asked.header.strings("tasks").value_or(std::vector<std::string>()) ==
                         std::vector<std::string>{"f-1", "2"} &&
                     asked.header.integer_or("all", 9) == 0;
        link.send(frame("{\"t\":\"other\"}")); // is not waited for
        link.send(frame(right ? R"({"t":"withdrawn","n":2})" : R"({"t":"withdrawn","n":0})"));
        return true;
    });
    ck_text_eq(must(cancel({cluster.file, {"f-1", "2"}}, no_env)).text, "2 tasks were cancelled\n");
}
END_TEST

START_TEST(test_stop) {
    Cluster ends([](const Frame &, proto::Link &link) {
        link.send(frame(R"({"t":"stopping","n":1})"));
        link.send(encode_bye("the client has ended"));
        return true;
    });
    ck_text_eq(must(stop({ends.file}, no_env)).text, "cluster 7.0 has ended\n");
    auto nobody = frame(R"({"t":"stopping","n":0})");
    Cluster without({{"stop", nobody}});
    auto said = must(stop({without.file}, no_env));
    ck_contains(said.error, "cluster 7.0 has no client yet, or has it no more");
    ck_assert_int_eq(said.code, 1);
    Cluster slow({{"stop", frame(R"({"t":"stopping","n":1})")}});
    said = must(stop({slow.file, 0}, no_env));
    ck_contains(said.error, "cluster 7.0 has not ended within 0 s; it was told to");
}
END_TEST

START_TEST(test_status) {
    auto token = Token::random();
    Cluster door({{"ping", frame(R"({"t":"pong"})")}}, "native", token);
    Cluster closes(hang_up, "native", token);
    Cluster cluster({{"info", info_with({door.address, closes.address})}}, "native", token);
    auto said = must(status({cluster.file, false, true}, no_env));
    ck_contains(said.text, "cluster 7.0 (native) at 127.0.0.1:9 on n0, up ");
    ck_contains(said.text, " us ");
    ck_contains(said.text, "closed by the scheduler");
    ck_contains(said.text, "page: http://n0:8000/\n");

    auto json = must(Json::parse(must(status({cluster.file, true, true}, no_env)).text));
    ck_text_eq(json.string_or("dashboard", ""), "http://n0:8000/");
    auto workers = must(json.list("workers"));
    ck_assert_int_eq(workers.size(), 2);
    ck_assert(workers.at(0).has("ping_us"));
    ck_contains(workers.at(1).string_or("ping_failure", ""), "closed by the scheduler");

    // Where there is no terminal `dtask top` shows the same, once.
    ck_contains(must(top({cluster.file}, no_env)).text, "2 of 2 workers");
}
END_TEST

} // namespace

int main() {
    Suite *suite = suite_create("tasks");
    TCase *cases = tcase_create("commands that ask");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, test_explain);
    tcase_add_test(cases, test_who_cannot_be_asked);
    tcase_add_test(cases, test_logs_of_the_scheduler_and_of_workers);
    tcase_add_test(cases, test_logs_of_a_task);
    tcase_add_test(cases, test_cancel);
    tcase_add_test(cases, test_cancel_asks);
    tcase_add_test(cases, test_stop);
    tcase_add_test(cases, test_status);
    suite_add_tcase(suite, cases);
    return test::run(suite);
}

// SPDX-License-Identifier: Apache-2.0
//
// The scheduler's server over loopback: who is heard, who is closed, how it ends.
#include "tests/unit/unit.h"

#include <sys/socket.h>

#include "lib/base/exit_codes.h"
#include "lib/base/fd.h"
#include "lib/base/log.h"
#include "lib/base/strings.h"
#include "runtime/scheduler/server.h"
#include "tests/unit/server_cluster.h"

using namespace dtask;
using namespace dtask::proto;
using dtask::scheduler::Server;
using dtask::test::Cluster;
using dtask::test::must;

namespace {

START_TEST(test_one_task_from_client_to_worker_and_back) {
    Cluster c;
    auto &launcher = c.launcher();
    auto &worker = c.worker();
    c.script.when("the worker to be counted",
                  [&] { return must(decode_worker_count(launcher.last("workers"))).n == 1; });
    auto &client = c.client();
    c.script.then([&] {
        auto welcome = must(decode_welcome(client.last("welcome")));
        ck_text_eq(welcome.id, "7.0");
        ck_text_eq(welcome.address, c.address().c_str());
        ck_assert_uint_eq(welcome.expected, 1);
        client.send(R"({"t":"function","f":5,"name":"double"})", "pickled");
        client.send(R"({"t":"submit","f":5,"k":[3,9],"len":[2,0]})", "21");
    });
    c.script.when(
        "the tasks", [&] { return worker.count("run") == 1; },
        [&] {
            auto function = must(decode_function(worker.last("function")));
            ck_text_eq(function.pickled, "pickled");
            ck_text_eq(function.name, "double");
            auto run = must(decode_run(worker.last("run")));
            ck_assert_uint_eq(run.k.size(), 2);
            ck_assert((run.f == Column{function.f, function.f}));
            ck_text_eq(run.payload, "21");
            worker.send(encode(Done{run.k, run.i, {5, 5}, {0, 1}, {2, 5}, "42error"}));
        });
    c.script.when(
        "both outcomes", [&] { return client.count("done") && client.count("failed"); },
        [&] {
            ck_assert((must(client.last("done").header.column("k")) == Column{3}));
            ck_text_eq(client.last("done").payload, "42");
            auto &failed = client.last("failed");
            ck_assert_int_eq(must(failed.header.integer("k")), 9);
            ck_text_eq(must(failed.header.string("kind")), "raised");
            ck_text_eq(must(failed.header.string("worker")), "n0");
            ck_text_eq(failed.payload, "error");
            client.send(make_frame("info"));
        });
    c.script.when(
        "the state", [&] { return client.count("info") == 1; },
        [&] {
            auto info = must(decode_info(client.last("info")));
            ck_assert_uint_eq(info.done, 1);
            ck_assert_uint_eq(info.failed, 1);
            ck_assert_uint_eq(info.workers.at(0).about.nthreads, 4);
        });
    c.shutdown(launcher);
    ck_assert_int_eq(c.play(), 0);
    ck_text_eq(c.log_text(), "");
}
END_TEST

// Many results of one turn come in few frames.
START_TEST(test_results_are_gathered) {
    Cluster c;
    auto &launcher = c.launcher();
    auto &worker = c.worker();
    auto &client = c.client();
    constexpr std::uint64_t count = 2'000;
    c.script.then([&] {
        client.send(R"({"t":"function","f":1,"name":"f"})");
        auto submit = make_frame("submit");
        Column k, len(count, 1);
        for (std::uint64_t n = 1; n <= count; n++) k.push_back(n);
        submit.header.set("f", 1).set("k", k).set("len", len);
        submit.payload = std::string(count, 'x');
        client.send(std::move(submit));
    });
    auto answered = std::make_shared<std::size_t>(0);
    c.script.when(
        "all results",
        [&, answered] {
            for (auto &frame : std::exchange(worker.frames["run"], {})) {
                auto run = must(decode_run(std::move(frame)));
                *answered += run.k.size();
                auto n = run.k.size();
                worker.send(
                    encode(Done{run.k, run.i, Column(n, 1), Column(n, 0), run.len, run.payload}));
            }
            std::size_t sum = 0;
            for (auto &frame : client.frames["done"]) sum += must(frame.header.column("k")).size();
            return sum == count;
        },
        [&, answered] {
            ck_assert_uint_eq(*answered, count);
            ck_assert_uint_lt(client.count("done"), 100);
        });
    c.shutdown(launcher);
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// A peer that breaks the rules is closed; the others go on.
START_TEST(test_wrong_messages_close_their_sender) {
    struct {
        Role role;
        const char *header, *why;
    } rows[]{
        {Role::client, R"({"t":"submit","f":1,"k":[1],"len":[0]})", "function 1 was never sent"},
        {Role::client, R"({"t":"submit","f":1,"k":[1],"len":[]})", "not as long"},
        {Role::client, R"({"t":"function","name":"f"})", "\"f\" is missing"},
        {Role::client, R"({"t":"cancel","k":3})", "\"k\" is missing or not an array"},
        {Role::client, R"({"t":"run","k":[]})", "\"run\" is no message of a client"},
        {Role::client, R"({"t":"register"})", "no message of a client"},
        {Role::client, R"({"t":"shutdown","code":0})", "no message of a client"},
        {Role::worker, R"({"t":"done","k":[]})", "before it registered"},
        {Role::worker, R"({"t":"stat","memory":1})", "before it registered"},
        {Role::worker, R"({"t":"submit"})", "before it registered"},
        {Role::worker, R"({"t":"register","name":"n"})", "\"node\" is missing"},
        {Role::worker, R"({"t":"here"})", "\"task\" is missing"},
        {Role::worker, R"({"t":"unfit","task":0})", "\"node\" is missing"},
        {Role::control, R"({"t":"shutdown"})", "\"code\" is missing"},
        {Role::control, R"({"t":"submit"})", "no message of a launcher"},
        {Role::control, R"({"t":"unfit","task":"x"})", "\"task\" is missing"},
        {Role::observer, R"({"t":"shutdown","code":0})", "an observer may ask only"},
        {Role::observer, R"({"t":"submit"})", "an observer may ask only"},
    };
    Cluster c(0);
    auto &launcher = c.launcher();
    auto &client = c.client();
    for (auto &row : rows) {
        auto &peer = c.connect(row.role);
        c.script.when(
            "the greeting", [&peer] { return peer.count("welcome") == 1; },
            [&peer, &row] { peer.send(row.header); });
        c.script.when(
            row.header, [&peer] { return peer.closed; },
            [&c, &row] {
                auto text = c.log_text();
                auto lines = split(trim(text), '\n');
                ck_contains(std::string(lines.back()), row.why);
                ck_contains(std::string(lines.back()), "closing the connection from 127.0.0.1");
            });
    }
    c.script.then([&] { client.send(make_frame("info")); });
    c.script.when("an answer after all that", [&] { return client.count("info") == 1; });
    c.shutdown(launcher);
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

START_TEST(test_a_worker_registers_once) {
    Cluster c;
    auto &launcher = c.launcher();
    auto &worker = c.worker();
    c.script.then([&] { worker.send(encode(Register{"n0", "n0", "a", 0, 1, 1, 1, 0})); });
    c.script.when(
        "its end", [&] { return worker.closed; },
        [&] { ck_contains(c.log_text(), "registered twice"); });
    c.script.when("the count",
                  [&] { return must(decode_worker_count(launcher.last("workers"))).n == 0; });
    c.shutdown(launcher);
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// Strangers: closed, told once, however many; and the work goes on.
START_TEST(test_strangers) {
    Cluster c(0);
    auto &launcher = c.launcher();
    auto wrong = Token::random();
    for (int n = 0; n < 50; n++) c.connect(Role::client, &wrong);
    c.script.when("all strangers to be closed", [&] {
        std::size_t closed = 0;
        for (auto &peer : c.peers) closed += peer->closed;
        return closed == 50;
    });
    auto loud = std::make_shared<std::vector<Fd>>();
    c.script.then([&, loud] {
        for (int n = 0; n < 50; n++) {
            loud->push_back(must(ev::begin_connect(c.address())));
            (void)!::send(loud->back().get(),
                          "GET / HTTP/1.1\r\nHost: localhost:20000\r\nAccept: */*\r\n", 50,
                          MSG_NOSIGNAL);
        }
    });
    auto &client = c.client();
    c.script.then([&] { client.send(make_frame("info")); });
    c.script.when(
        "an answer", [&] { return client.count("info") == 1; },
        [&] {
            auto text = c.log_text();
            ck_assert_uint_eq(split(trim(text), '\n').size(), 1);
            ck_contains(text, "refused a connection from 127.0.0.1");
            ck_assert(!test::contains(text, c.token.hex()));
        });
    c.shutdown(launcher);
    ck_assert_int_eq(c.play(), 0);
    ck_contains(c.log_text(), " connections in all were refused");
}
END_TEST

// Connections that never say a word: the oldest make room, ours still gets in.
START_TEST(test_a_thousand_half_open_connections) {
    Cluster c(0);
    auto &launcher = c.launcher();
    auto held = std::make_shared<std::vector<Fd>>();
    for (int round = 0; round < 10; round++)
        c.script.then([&, held] {
            for (int n = 0; n < 80; n++) held->push_back(must(ev::begin_connect(c.address())));
        });
    auto &client = c.client();
    c.script.then([&] { client.send(make_frame("info")); });
    c.script.when(
        "an answer", [&] { return client.count("info") == 1; }, [held] { held->clear(); });
    c.shutdown(launcher);
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

START_TEST(test_worker_lost) {
    Cluster c(2);
    auto &launcher = c.launcher();
    auto &worker = c.worker(0);
    auto &client = c.client();
    c.script.then([&] {
        client.send(R"({"t":"function","f":1,"name":"f"})");
        client.send(R"({"t":"submit","f":1,"k":[1],"len":[0]})");
    });
    c.script.when(
        "the task", [&] { return worker.count("run") == 1; }, [&] { worker.link.reset(); });
    auto &next = c.worker(1);
    c.script.when(
        "the task once more", [&] { return next.count("run") == 1; },
        [&] {
            auto run = must(decode_run(next.last("run")));
            ck_assert((run.i == Column{2}));
            worker.closed = true;
        });
    c.shutdown(launcher);
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

START_TEST(test_unfit_tasks_are_told_and_closed) {
    Cluster c(2);
    auto &launcher = c.launcher();
    auto &unfit = c.connect(Role::control);
    c.script.when(
        "the greeting", [&] { return unfit.count("welcome") == 1; },
        [&] {
            unfit.send(encode(Unfit{"n1", "no interface ib0", 1}));
        });
    c.script.when(
        "it to be closed", [&] { return unfit.closed; },
        [&] {
            ck_contains(c.log_text(), "task 1 on n1 cannot serve: no interface ib0");
            ck_assert_uint_eq(must(decode_worker_count(launcher.last("workers"))).expected, 1);
            // The client's own task may be unfit as a worker, and still has the client.
            launcher.send(encode(Unfit{"n0", "no python", 0}));
        });
    c.script.when(
        "the count",
        [&] { return must(decode_worker_count(launcher.last("workers"))).expected == 0; },
        [&] { ck_assert(!launcher.closed); });
    c.shutdown(launcher);
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

START_TEST(test_the_clients_launcher_is_lost) {
    Cluster c;
    auto &launcher = c.launcher();
    auto &worker = c.worker();
    c.script.then([&] { launcher.link.reset(); });
    c.script.when(
        "good-bye", [&] { return worker.count("bye") > 0; },
        [&] {
            ck_text_eq(must(worker.frames["bye"].front().header.string("why")),
                       "the client's launcher was lost");
            ck_contains(c.log_text(), "the launcher of the client was lost");
            c.peers.clear();
        });
    ck_assert_int_eq(c.play(), exit_code::cluster_lost);
}
END_TEST

START_TEST(test_nobody_attaches) {
    Cluster c(0, 50);
    ck_assert_int_eq(c.play(), exit_code::start_timeout);
    ck_contains(c.log_text(), "has not come up in time");
}
END_TEST

// Dask's worker has died: whoever holds Dask's scheduler is told; without one it is no message.
START_TEST(test_deaths_are_handed_on) {
    Cluster c;
    auto &launcher = c.launcher();
    auto &worker = c.worker();
    std::vector<std::string> heard;
    c.server->on_died([&](const Died &died) { heard.push_back(died.name + " " + died.how); });
    c.script.then([&] { worker.send(encode(Died{"n1.0", "tls://h:1", "ended"})); });
    c.script.when(
        "the death", [&] { return heard.size() == 1; },
        [&] {
            ck_text_eq(heard[0], "n1.0 ended");
            ck_assert(!worker.closed);
            c.server->on_died({});
            worker.send(encode(Died{"n1.0", "", "ended"}));
        });
    c.script.when(
        "its end", [&] { return worker.closed; },
        [&] { launcher.send(encode_shutdown(0)), c.peers.clear(); });
    c.play();
    ck_contains(c.log_text(), "\"died\" is no message of a worker");
}
END_TEST

// Dask's scheduler was shut down by its client, which goes on: workers may go, present and future.
START_TEST(test_workers_are_dismissed) {
    Cluster c;
    auto &launcher = c.launcher();
    auto &worker = c.worker();
    c.script.then([&] { c.server->dismiss_workers("over"); });
    c.script.when(
        "good-bye", [&] { return worker.count("bye") >= 1; },
        [&] {
            ck_assert_uint_eq(launcher.count("bye"), 0);
            auto &late = c.connect(Role::worker);
            c.script.when(
                "the greeting", [&] { return late.count("welcome") == 1; },
                [&] { late.send(encode_here(1)); });
            c.script.when(
                "good-bye to it", [&] { return late.count("bye") == 1; },
                [&] { launcher.send(encode_shutdown(0)); });
            c.script.when(
                "the end", [&] { return launcher.count("bye") == 1; }, [&] { c.peers.clear(); });
        });
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// A cluster that cannot be is told with the exit code that the step ends with.
START_TEST(test_good_bye_has_the_code) {
    Cluster c;
    auto &launcher = c.launcher();
    c.script.then([&] { c.server->end(exit_code::usage, "no"); });
    c.script.when(
        "good-bye", [&] { return launcher.count("bye") == 1; },
        [&] {
            ck_assert_int_eq(must(launcher.last("bye").header.integer("code")), exit_code::usage);
            c.peers.clear();
        });
    ck_assert_int_eq(c.play(), exit_code::usage);
}
END_TEST

// Peers that do not close after good-bye are closed after a second.
START_TEST(test_peers_that_stay) {
    Cluster c;
    auto &launcher = c.launcher();
    c.worker();
    c.script.then([&] { launcher.send(encode_shutdown(7)); });
    SteadyClock clock;
    auto began = clock.now_us();
    ck_assert_int_eq(c.play(), 0);
    ck_assert_int_lt(clock.now_us() - began, 4'000'000);
}
END_TEST

// A worker that comes when all is over is told so at once.
START_TEST(test_a_late_worker) {
    Cluster c(1);
    auto &launcher = c.launcher();
    c.script.then([&] { launcher.send(encode_shutdown(0)); });
    c.script.when(
        "good-bye", [&] { return launcher.count("bye") == 1; },
        [&] {
            launcher.link->close();
            launcher.link.reset();
            auto &late = c.connect(Role::worker);
            c.script.when(
                "the greeting", [&] { return late.count("welcome") == 1; },
                [&] { late.send(encode_here(0)); });
            c.script.when(
                "good-bye to it", [&] { return late.count("bye") == 1; },
                [&] { late.link->close(), c.peers.clear(); });
        });
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// The end comes in the midst of its proof: it is heard all the same, for nobody would start it
// again.
START_TEST(test_a_worker_that_proves_itself_at_the_end) {
    Cluster c(1);
    auto connection = must(ev::begin_connect(c.address()));
    auto &launcher = c.launcher(); // which is accepted behind it
    c.script.then([&] { launcher.send(encode_shutdown(0)); });
    c.script.when(
        "good-bye", [&] { return launcher.count("bye") == 1; },
        [&] {
            auto &slow = c.prove(std::move(connection), Role::worker);
            c.script.when(
                "the greeting", [&] { return slow.count("welcome") == 1; },
                [&] { slow.send(encode_here(0)); });
            c.script.when(
                "good-bye to it", [&] { return slow.count("bye") == 1; }, [&] { c.peers.clear(); });
        });
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// Where no cgroup holds the limits, and which tasks never came, is told once for all.
START_TEST(test_what_is_told_once) {
    Cluster c(4, 400);
    auto &launcher = c.launcher();
    for (std::uint64_t task : {0, 2}) {
        auto &worker = c.connect(Role::worker);
        c.script.when(
            "a worker", [&worker] { return worker.open; },
            [&worker, task] {
                Register about{"n" + std::to_string(task), "n1", "a", task, 1, 1, 1, 7};
                about.without_group = task == 0 ? "memory,cpus" : "memory";
                worker.send(encode(about));
            });
    }
    c.script.when(
        "the line on tasks that are missing",
        [&] { return c.log_text().find("have not come") != std::string::npos; },
        [&] { launcher.send(encode_shutdown(0)); });
    c.play();
    auto text = c.log_text();
    ck_contains(text,
                "no cgroup holds the workers' limits on n1: each worker watches the memory of "
                "its executors itself, and nothing keeps them to their CPUs");
    ck_assert_uint_eq(text.find("no cgroup"), text.rfind("no cgroup"));
    ck_contains(text,
                "these tasks have not come in 0 s (--dtask-timeout), the step goes on without "
                "their workers: 1,3; where dtask's plugin is missing");
}
END_TEST

START_TEST(test_ports_that_are_taken) {
    Cluster one;
    scheduler::Settings settings;
    Server other(one.loop, one.token, settings, 1000);
    auto listened = other.listen("127.0.0.1", {one.port});
    ck_contains(test::error_of(listened), "none of 1 ports is free; the last: ");
    auto free = must(other.listen("127.0.0.1", {one.port, 0}));
    ck_assert_uint_ne(free, one.port);
}
END_TEST

Suite *suite() {
    auto s = suite_create("server");
    auto c = tcase_create("server");
    tcase_set_timeout(c, 40);
    for (auto test : {test_one_task_from_client_to_worker_and_back, test_results_are_gathered,
                      test_wrong_messages_close_their_sender, test_a_worker_registers_once,
                      test_strangers, test_a_thousand_half_open_connections, test_worker_lost,
                      test_unfit_tasks_are_told_and_closed, test_the_clients_launcher_is_lost,
                      test_deaths_are_handed_on, test_workers_are_dismissed,
                      test_good_bye_has_the_code, test_nobody_attaches, test_peers_that_stay,
                      test_a_late_worker, test_a_worker_that_proves_itself_at_the_end,
                      test_what_is_told_once, test_ports_that_are_taken})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
#include "runtime/cli/cluster.h"

#include <utility>

#include "lib/base/clock.h"
#include "lib/ev/loop.h"

namespace dtask::cli {

namespace {

constexpr std::int64_t answer_ms = 5'000;

} // namespace

void ask_all(std::vector<Question> &questions, const proto::Token &token,
             const proto::Frame &question, const char *answer) {
    ev::Loop loop;
    SteadyClock clock;
    std::size_t open = questions.size();
    auto over = [&] {
        if (--open == 0) loop.stop();
    };
    ev::Timer patience(loop, [&] {
        for (auto &q : questions)
            if (!q.answer && q.failure.empty())
                q.failure = "nothing came in " + std::to_string(answer_ms / 1'000) + " s";
        loop.stop();
    });
    patience.set(answer_ms);
    for (auto &q : questions) {
        auto failed = [&q, over](const std::string &why) {
            if (q.answer || !q.failure.empty()) return;
            q.failure = why;
            over();
        };
        q.dialer = std::make_unique<client::Dialer>(
            loop, token, proto::Role::observer, std::vector{q.address}, answer_ms,
            client::Dialer::Callbacks{.on_connected =
                                          [&] {
                                              q.us = clock.now_us();
                                              q.dialer->send(question);
                                          },
                                      .on_frame =
                                          [&q, &clock, over, answer](proto::Frame frame) {
                                              if (frame.type() != answer || q.answer) return;
                                              q.us = clock.now_us() - q.us;
                                              q.answer = std::move(frame);
                                              over();
                                          },
                                      .on_lost = failed,
                                      .on_failed = failed});
    }
    if (open > 0) loop.run();
    for (auto &q : questions) q.dialer.reset();
}

Result<proto::Frame> ask(const client::Connection &connection, const proto::Frame &question,
                         const char *answer) {
    std::vector<Question> scheduler(1);
    scheduler[0].address = connection.address;
    ask_all(scheduler, connection.token, question, answer);
    if (!scheduler[0].answer)
        return fail("no answer from the scheduler of " + connection.id + ": " +
                    scheduler[0].failure);
    return std::move(*scheduler[0].answer);
}

Result<client::Connection> find_cluster(const std::string &scheduler_file, const Env &env) {
    return client::find_connection(scheduler_file, env.get_or("DTASK_SCHEDULER_FILE", ""));
}

Result<client::Connection> find_native_cluster(const std::string &scheduler_file, const Env &env) {
    auto connection = find_cluster(scheduler_file, env);
    if (connection && connection->engine != "native")
        return fail("the engine of cluster " + connection->id + " is " + connection->engine +
                    ", whose tasks only Dask knows: its dashboard shows them; accepted: a cluster "
                    "of the engine native");
    return connection;
}

} // namespace dtask::cli

// SPDX-License-Identifier: Apache-2.0
#include "runtime/cli/status.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "lib/base/clock.h"
#include "lib/base/strings.h"
#include "lib/ev/loop.h"
#include "lib/proto/codec.h"
#include "runtime/client/connection_file.h"
#include "runtime/client/dialer.h"

namespace dtask::cli {

namespace {

constexpr std::int64_t answer_ms = 5'000;

// One question to one address: `ask`, and the first frame of type `answer`.
struct Question {
    std::string address;
    std::optional<proto::Frame> answer;
    std::string failure;
    std::int64_t us = 0; ///< from the question to the answer
    std::unique_ptr<client::Dialer> dialer;
};

void ask_all(std::vector<Question> &questions, const proto::Token &token, const char *ask,
             const char *answer) {
    ev::Loop loop;
    SteadyClock clock;
    std::size_t open = questions.size();
    auto over = [&] {
        if (--open == 0) loop.stop();
    };
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
                                              q.dialer->send(proto::make_frame(ask));
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

std::string table(const client::Connection &connection, const proto::Info &info,
                  const std::vector<Question> &pings) {
    std::string text = fmt::format(
        "cluster {} ({}) at {} on {}, up {} s\n{} of {} workers, {} client{}; tasks: {} waiting, "
        "{} running, {} done, {} failed\n",
        info.id, info.engine, info.address, connection.node, info.uptime_s, info.workers.size(),
        info.expected, info.clients, info.clients == 1 ? "" : "s", info.waiting, info.running,
        info.done, info.failed);
    if (info.workers.empty()) return text;
    text += fmt::format("{:<16}{:<12}{:>5}{:>9}{:>9}{:>8}{:>8}{:>10}{}\n", "WORKER", "NODE", "CPUS",
                        "MEMORY", "LIMIT", "RUNNING", "QUEUED", "DONE",
                        pings.empty() ? "" : "      PING");
    for (std::size_t n = 0; n < info.workers.size(); n++) {
        const auto &w = info.workers[n];
        std::string ping;
        if (!pings.empty())
            ping = pings[n].answer ? fmt::format("{:>7} us", pings[n].us) : "  " + pings[n].failure;
        text += fmt::format("{:<16}{:<12}{:>5}{:>9}{:>9}{:>8}{:>8}{:>10}{}\n", w.about.name,
                            w.about.node, w.about.nthreads, format_size(w.memory),
                            w.about.memory_limit ? format_size(w.about.memory_limit) : "none",
                            w.running, w.queued, w.done, ping);
    }
    return text;
}

} // namespace

Result<std::string> status(const StatusRequest &request, const Env &env) {
    auto connection =
        client::find_connection(request.scheduler_file, env.get_or("DTASK_SCHEDULER_FILE", ""));
    if (!connection) return fail_from(std::move(connection));

    std::vector<Question> scheduler(1);
    scheduler[0].address = connection->address;
    ask_all(scheduler, connection->token, "info", "info");
    if (!scheduler[0].answer)
        return fail("no answer from the scheduler of " + connection->id + ": " +
                    scheduler[0].failure);
    auto info = proto::decode_info(*scheduler[0].answer);
    if (!info) return fail_from(std::move(info), "scheduler's answer");

    std::vector<Question> pings;
    if (request.ping && !info->workers.empty()) {
        pings.resize(info->workers.size());
        for (std::size_t n = 0; n < pings.size(); n++)
            pings[n].address = info->workers[n].about.address;
        ask_all(pings, connection->token, "ping", "pong");
    }
    if (!request.json) return table(*connection, *info, pings);

    Json json = scheduler[0].answer->header;
    auto workers = json.member("workers");
    for (std::size_t n = 0; n < pings.size() && workers; n++) {
        Json row = workers->at(n);
        if (pings[n].answer)
            row.set("ping_us", pings[n].us);
        else
            row.set("ping_failure", pings[n].failure);
    }
    return json.indented() + "\n";
}

} // namespace dtask::cli

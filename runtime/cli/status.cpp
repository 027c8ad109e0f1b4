// SPDX-License-Identifier: Apache-2.0
#include "runtime/cli/status.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "lib/base/strings.h"
#include "runtime/cli/format.h"

namespace dtask::cli {

namespace {

constexpr std::size_t most_failures = 5;

std::string ping_of(const Question &ping) {
    return ping.answer ? fmt::format("{:>7} us ", ping.us) : "  " + printable(ping.failure) + ' ';
}

} // namespace

std::string table(const proto::Info &info, const std::string &node,
                  const std::vector<Question> &pings) {
    std::string text = fmt::format(
        "cluster {} ({}) at {}{}, up {}\n{} of {} workers, {} client{}; tasks: {} waiting, "
        "{} running, {} done, {} failed, {} retried; {}\n",
        info.id, info.engine, info.address, node.empty() ? "" : " on " + node, span(info.uptime_ms),
        info.workers.size(), info.expected, info.clients, info.clients == 1 ? "" : "s",
        info.waiting, info.running, info.done, info.failed, info.retried, rate(info));
    std::size_t name = 6, where = 4;
    for (const auto &w : info.workers) {
        name = std::max(name, columns_of(w.about.name));
        where = std::max(where, columns_of(w.about.node));
    }
    if (!info.workers.empty())
        text +=
            fmt::format("{}  {}{:>5}{:>7}{:>9}{:>9}{:>9}{:>8}{:>7}{:>10} {} TASK\n",
                        fit("WORKER", name), fit("NODE", where), "CPUS", "CPU%", "MEMORY", "PEAK",
                        "LIMIT", "RUNNING", "QUEUED", "DONE", pings.empty() ? "" : "      PING ");
    for (std::size_t n = 0; n < info.workers.size(); n++) {
        const auto &w = info.workers[n];
        text += fmt::format("{}  {}{:>5}{:>7}{:>9}{:>9}{:>9}{:>8}{:>7}{:>10} {} {}\n",
                            fit(printable(w.about.name), name), fit(printable(w.about.node), where),
                            w.about.nthreads, w.cpu, format_size(w.memory), format_size(w.peak),
                            w.about.memory_limit ? format_size(w.about.memory_limit) : "none",
                            w.running, w.queued, w.done, pings.empty() ? "" : ping_of(pings[n]),
                            current(w));
    }
    auto shown = std::min(info.failures.size(), most_failures);
    for (auto n = info.failures.size() - shown; n < info.failures.size(); n++)
        text += "failed: " + failure_line(info.failures[n], info.uptime_ms) + '\n';
    return text;
}

Result<Said> status(const StatusRequest &request, const Env &env) {
    auto connection = find_cluster(request.scheduler_file, env);
    if (!connection) return fail_from(std::move(connection));
    auto answer = ask(*connection, proto::make_frame("info"), "info");
    if (!answer) return fail_from(std::move(answer));
    auto info = proto::decode_info(*answer);
    if (!info) return fail_from(std::move(info), "scheduler's answer");

    std::vector<Question> pings;
    if (request.ping && !info->workers.empty()) {
        pings.resize(info->workers.size());
        for (std::size_t n = 0; n < pings.size(); n++)
            pings[n].address = info->workers[n].about.address;
        ask_all(pings, connection->token, proto::make_frame("ping"), "pong");
    }
    const auto &page = connection->dashboard;
    if (!request.json)
        return Said{table(*info, connection->node, pings) +
                    (page.empty() ? "" : "page: " + printable(page) + '\n')};

    Json json = answer->header;
    if (!page.empty()) json.set("dashboard", page);
    auto workers = json.list("workers");
    if (workers && !pings.empty()) {
        Json rows = Json::array();
        for (std::size_t n = 0; n < workers->size(); n++) {
            Json row = workers->at(n);
            if (pings[n].answer)
                row.set("ping_us", pings[n].us);
            else
                row.set("ping_failure", pings[n].failure);
            rows.append(std::move(row));
        }
        json.set("workers", std::move(rows));
    }
    return Said{json.indented() + "\n"};
}

} // namespace dtask::cli

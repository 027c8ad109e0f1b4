// SPDX-License-Identifier: Apache-2.0
#include "runtime/cli/tasks.h"

#include <algorithm>

#include <fmt/format.h>

#include "lib/ev/loop.h"
#include "lib/model/task_name.h"
#include "runtime/cli/format.h"

namespace dtask::cli {

namespace {

Said none(const std::string &why) { return {"", why + '\n', Said::nothing}; }

std::string no_such_task(const std::string &task) {
    return "no task is called " + printable(task) +
           ", and none of the clients that are connected has had one of that number";
}

std::string indented(const std::string &text) {
    std::string out;
    std::size_t from = 0;
    while (from < text.size()) {
        auto end = std::min(text.find('\n', from), text.size());
        out += "  " + printable(std::string_view(text).substr(from, end - from)) + '\n';
        from = end + 1;
    }
    return out;
}

std::string last_lines(const std::string &text, std::uint64_t lines) {
    if (lines == 0 || text.empty()) return text;
    auto from = text.ends_with('\n') ? text.size() - 1 : text.size();
    while (lines > 0 && from > 0) {
        auto at = text.rfind('\n', from - 1);
        if (at == std::string::npos) return text;
        from = at;
        lines--;
    }
    return text.substr(from + 1);
}

Result<std::vector<proto::Explanation>> ask_about(const client::Connection &connection,
                                                  const std::string &task, Json &whole) {
    auto question = proto::make_frame("explain");
    question.header.set("task", task);
    auto answer = ask(connection, question, "explained");
    if (!answer) return fail_from(std::move(answer));
    whole = answer->header;
    return proto::decode_explained(*answer);
}

// What of several tasks of that name is told apart by: their clients.
std::string name_of(const proto::Explanation &told, bool one_of_many) {
    auto name = printable(told.task.name);
    return one_of_many ? fmt::format("{}:{}", told.task.client, name) : name;
}

Said log_of(const Question &worker, const std::string &name, std::uint64_t lines) {
    if (!worker.answer) return none("worker " + name + " does not answer: " + worker.failure);
    const auto &text = worker.answer->payload;
    if (text.empty()) return none("worker " + name + " has logged nothing yet");
    return {last_lines(text, lines)};
}

Said output_of(const client::Connection &connection, const proto::Explanation &told,
               std::uint64_t lines) {
    auto name = printable(told.task.name);
    if (told.state == "failed")
        return {told.detail.empty() ? printable(told.why) + '\n' : last_lines(told.detail, lines)};
    if (told.state != "running") return none(name + " has written nothing: " + printable(told.why));
    if (!told.command)
        return none(name + " runs on worker " + told.worker +
                    ": what a function prints goes to the step's own output");
    std::vector<Question> worker(1);
    worker[0].address = told.address;
    auto question = proto::make_frame("log");
    question.header.set("task", told.id).set("instance", told.instance);
    ask_all(worker, connection.token, question, "log");
    if (!worker[0].answer)
        return none("worker " + told.worker + " does not answer: " + worker[0].failure);
    if (worker[0].answer->header.integer_or("found", 0) == 0)
        return none(name + " has just ended: ask again");
    if (worker[0].answer->payload.empty())
        return none(name + " runs, and has written nothing that is not in a file of its own");
    return {last_lines(worker[0].answer->payload, lines)};
}

} // namespace

Result<Said> explain(const ExplainRequest &request, const Env &env) {
    if (auto name = model::parse_task_name(request.task); !name) return fail_from(std::move(name));
    auto connection = find_native_cluster(request.scheduler_file, env);
    if (!connection) return fail_from(std::move(connection));
    Json whole = Json::object();
    auto tasks = ask_about(*connection, request.task, whole);
    if (!tasks) return fail_from(std::move(tasks));
    if (tasks->empty()) return none(no_such_task(request.task));
    if (request.json) return Said{whole.indented() + '\n'};
    Said said;
    for (const auto &told : *tasks)
        said.text += fmt::format("{}: {}\n{}", name_of(told, tasks->size() > 1),
                                 printable(told.why), indented(told.detail));
    return said;
}

Result<Said> logs(const LogsRequest &request, const Env &env) {
    auto connection = find_cluster(request.scheduler_file, env);
    if (!connection) return fail_from(std::move(connection));
    if (request.of == "scheduler") {
        auto answer = ask(*connection, proto::make_frame("log"), "log");
        if (!answer) return fail_from(std::move(answer));
        if (answer->payload.empty()) return none("the scheduler has logged nothing yet");
        return Said{last_lines(answer->payload, request.lines)};
    }
    auto answer = ask(*connection, proto::make_frame("info"), "info");
    if (!answer) return fail_from(std::move(answer));
    auto info = proto::decode_info(*answer);
    if (!info) return fail_from(std::move(info), "scheduler's answer");
    auto worker = std::ranges::find_if(info->workers,
                                       [&](const auto &w) { return w.about.name == request.of; });
    if (worker != info->workers.end()) {
        std::vector<Question> asked(1);
        asked[0].address = worker->about.address;
        ask_all(asked, connection->token, proto::make_frame("log"), "log");
        return log_of(asked[0], request.of, request.lines);
    }
    if (!model::parse_task_name(request.of))
        return none("no worker is called " + printable(request.of) +
                    "; accepted: a worker's name, as dtask status has it, scheduler, or a task");
    auto native = find_native_cluster(request.scheduler_file, env);
    if (!native) return fail_from(std::move(native));
    Json whole = Json::object();
    auto tasks = ask_about(*connection, request.of, whole);
    if (!tasks) return fail_from(std::move(tasks));
    if (tasks->empty()) return none(no_such_task(request.of));
    if (tasks->size() > 1) {
        std::string names;
        for (const auto &told : *tasks) names += (names.empty() ? "" : ", ") + name_of(told, true);
        return none("several tasks are called " + printable(request.of) + ": " + names);
    }
    return output_of(*connection, tasks->front(), request.lines);
}

Result<Said> cancel(const CancelRequest &request, const Env &env) {
    if (request.all && !request.tasks.empty())
        return fail("accepted are names of tasks, or --all, not both");
    if (!request.all && request.tasks.empty()) return fail("accepted are names of tasks, or --all");
    for (const auto &task : request.tasks)
        if (auto name = model::parse_task_name(task); !name) return fail_from(std::move(name));
    auto connection = find_native_cluster(request.scheduler_file, env);
    if (!connection) return fail_from(std::move(connection));
    auto question = proto::make_frame("withdraw");
    Json names = Json::array();
    for (const auto &task : request.tasks) names.append(Json::text(task));
    question.header.set("tasks", std::move(names)).set("all", request.all ? 1 : 0);
    auto answer = ask(*connection, question, "withdrawn");
    if (!answer) return fail_from(std::move(answer));
    auto n = answer->header.integer_or("n", 0);
    Said said{fmt::format("{} task{} cancelled\n", n, n == 1 ? " was" : "s were")};
    for (auto [member, why] :
         {std::pair{"unknown", ": no task of that name waits or runs"},
          std::pair{"ambiguous", ": one of several tasks of that name; say which one by this"},
          std::pair{"needed", ": other tasks need its value; cancel these"}})
        for (const auto &name : answer->header.strings(member).value_or(std::vector<std::string>()))
            said.error += printable(name) + why + '\n';
    if (!said.error.empty() || (n == 0 && !request.all)) said.code = Said::nothing;
    return said;
}

Result<Said> stop(const StopRequest &request, const Env &env) {
    auto connection = find_cluster(request.scheduler_file, env);
    if (!connection) return fail_from(std::move(connection));
    ev::Loop loop;
    Said said;
    std::string failure;
    bool stopping = false;
    auto over = [&](Said what) {
        said = std::move(what);
        loop.stop();
    };
    auto ended = [&] { over({"cluster " + connection->id + " has ended\n"}); };
    ev::Timer patience(loop, [&] {
        over(none(fmt::format("cluster {} has not ended within {} s; it was told to",
                              connection->id, request.timeout_s)));
    });
    patience.set(static_cast<std::int64_t>(request.timeout_s) * 1'000);
    std::unique_ptr<client::Dialer> dialer;
    auto failed = [&](const std::string &why) {
        if (stopping) return ended();
        failure = why;
        loop.stop();
    };
    dialer = std::make_unique<client::Dialer>(
        loop, connection->token, proto::Role::observer, std::vector{connection->address}, 5'000,
        client::Dialer::Callbacks{
            .on_connected = [&] { dialer->send(proto::make_frame("stop")); },
            .on_frame =
                [&](const proto::Frame &frame) {
                    auto type = frame.type();
                    if (type == "bye") return ended();
                    if (type != "stopping") return;
                    stopping = frame.header.integer_or("n", 0) > 0;
                    if (!stopping)
                        over(none("cluster " + connection->id +
                                  " has no client yet, or has it no more: it ends by itself"));
                },
            .on_lost = failed,
            .on_failed = failed});
    loop.run();
    if (!failure.empty())
        return fail("no answer from the scheduler of " + connection->id + ": " + failure);
    return said;
}

} // namespace dtask::cli

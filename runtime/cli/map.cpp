// SPDX-License-Identifier: Apache-2.0
#include "runtime/cli/map.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <iostream>
#include <optional>

#include <fcntl.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/strings.h"
#include "lib/ev/loop.h"
#include "runtime/client/connection_file.h"
#include "runtime/ensemble/joblog.h"
#include "runtime/ensemble/mapper.h"

namespace dtask::cli {

namespace {

using ensemble::Template;
using ensemble::Text;

struct Place {
    std::string address;
    proto::Token token;
};

// A step's client is told where it is; anybody else reads the scheduler file.
Result<Place> find_cluster(const MapRequest &request, const Env &env) {
    auto address = env.get("DTASK_ADDRESS"), token = env.get("DTASK_TOKEN");
    if (request.scheduler_file.empty() && address && token) {
        auto parsed = proto::Token::from_hex(*token);
        if (!parsed) return fail_from(std::move(parsed), "DTASK_TOKEN");
        return Place{std::string(*address), *parsed};
    }
    auto found =
        client::find_connection(request.scheduler_file, env.get_or("DTASK_SCHEDULER_FILE", ""));
    if (!found)
        return fail(found.error().text() + "; to start one: srun --dtask dtask map ..., or "
                                           "dtask run -n N -- dtask map ...");
    return Place{found->address, found->token};
}

// "90", "1.5", "10m" → ms.
Result<std::uint64_t> parse_timeout(const std::string &text) {
    constexpr std::array<std::pair<char, double>, 4> units{
        {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}}};
    double seconds = 0, unit = 1;
    const char *end = text.data() + text.size();
    auto [rest, error] = std::from_chars(text.data(), end, seconds, std::chars_format::fixed);
    bool good = error == std::errc() && !text.starts_with('-') && seconds > 0;
    if (good && rest + 1 == end) {
        auto known = std::ranges::find(units, *rest, &std::pair<char, double>::first);
        good = known != units.end();
        if (good) unit = known->second;
    } else {
        good = good && rest == end;
    }
    constexpr double most_ms = UINT32_MAX;
    double ms = seconds * unit * 1000;
    if (!good || ms > most_ms || ms < 1)
        return fail(
            "--timeout=" + text +
            ": accepted is a number of seconds above 0, or one with s, m, h or d behind it, "
            "49 days at most");
    return static_cast<std::uint64_t>(ms);
}

std::string shell_of(const Env &env) {
    auto shell = env.get_or("PARALLEL_SHELL", "");
    if (!shell.empty()) return shell;
    shell = env.get_or("SHELL", "");
    auto name = std::filesystem::path(shell).filename().string();
    for (auto known : {"sh", "bash", "dash", "ksh", "zsh"})
        if (name == known) return shell;
    return "/bin/sh";
}

Result<ensemble::Inputs> read_inputs(const MapRequest &request) {
    std::vector<ensemble::Source> sources;
    for (const auto &file : request.files) sources.push_back({true, {file}, false});
    auto words = ensemble::parse_sources(request.inputs);
    if (!words) return fail_from(std::move(words));
    sources.insert(sources.end(), words->begin(), words->end());
    if (sources.empty() && ::isatty(STDIN_FILENO) == 1)
        return fail("no inputs: accepted are ::: VALUES, -a FILE, or lines on standard input");
    if (sources.empty()) sources.push_back({true, {"-"}, false});
    ensemble::Cut cut;
    cut.end = request.null ? '\0' : '\n';
    cut.separator = request.separator == "\\t" ? "\t" : request.separator;
    cut.csv = request.csv;
    cut.keep_empty = request.keep_empty;
    if (!request.header.empty() && request.header != ":")
        return fail("--header=" + request.header + ": accepted is : (a colon)");
    cut.header = request.csv || !request.header.empty();
    return ensemble::Inputs::read(sources, cut, request.link);
}

Result<std::optional<Text>> text_of(const char *option, const std::string &given,
                                    const ensemble::Inputs &inputs) {
    if (given.empty()) return std::nullopt;
    auto text = Text::parse(given, inputs.columns(), inputs.width());
    if (!text) return fail_from(std::move(text), option);
    return std::optional(std::move(*text));
}

Result<void> add_variable(ensemble::Plan &plan, const std::string &given, const Env &env,
                          const ensemble::Inputs &inputs) {
    auto equals = given.find('=');
    if (given.empty() || equals == 0)
        return fail("--env=" + given + ": accepted is NAME, or NAME=VALUE");
    if (equals == std::string::npos) {
        if (auto value = env.get(given))
            plan.set.push_back(given + '=' + std::string(*value));
        else
            plan.unset.push_back(given);
        return {};
    }
    auto text = Text::parse(given, inputs.columns(), inputs.width());
    if (!text) return fail_from(std::move(text), "--env");
    if (text->constant())
        plan.set.push_back(given);
    else
        plan.set_texts.push_back(std::move(*text));
    return {};
}

Result<ensemble::Plan> make_plan(const MapRequest &request, const Env &env) {
    ensemble::Plan plan;
    auto inputs = read_inputs(request);
    if (!inputs) return fail_from(std::move(inputs));
    plan.inputs = std::move(*inputs);
    auto mode = request.shell   ? Template::Shell::always
                : request.quote ? Template::Shell::never
                                : Template::Shell::if_needed;
    if (request.shell && request.quote) return fail("--shell and --quote exclude each other");
    auto command = Template::parse(request.command, plan.inputs.columns(), plan.inputs.width(),
                                   mode, shell_of(env));
    if (!command) return fail_from(std::move(command));
    plan.command = std::move(*command);

    auto directory = text_of("--workdir", request.workdir, plan.inputs);
    if (!directory) return fail_from(std::move(directory));
    auto here = std::filesystem::current_path();
    auto whole = [&](const std::string &path) { return (here / path).lexically_normal().string(); };
    if (!*directory)
        plan.directory = here.string();
    else if ((*directory)->constant())
        plan.directory = whole(request.workdir);
    else // as the others, relative to here
        directory = text_of("--workdir", whole(request.workdir), plan.inputs);
    if (*directory && !(*directory)->constant()) plan.directory_text = std::move(*directory);

    for (auto [option, given, into] : {std::tuple{"--input", &request.input, &plan.input},
                                       std::tuple{"--output", &request.output, &plan.output},
                                       std::tuple{"--errors", &request.errors, &plan.errors}}) {
        auto text = text_of(option, *given, plan.inputs);
        if (!text) return fail_from(std::move(text));
        *into = std::move(*text);
    }
    if (plan.output && !plan.errors) plan.errors = plan.output; // one file for both
    for (const auto &variable : request.variables)
        if (auto ok = add_variable(plan, variable, env, plan.inputs); !ok)
            return fail_from(std::move(ok));
    if (!request.memory.empty()) {
        auto memory = parse_size(request.memory);
        if (!memory || *memory == 0)
            return fail("--memory=" + request.memory + ": accepted is a size as 500M or 2G");
        plan.memory = *memory;
    }
    if (!request.timeout.empty()) {
        auto timeout = parse_timeout(request.timeout);
        if (!timeout) return fail_from(std::move(timeout));
        plan.timeout_ms = *timeout;
    }
    plan.cpus = request.cpus;
    plan.retries = request.retries;
    plan.most_failures = request.max_fails;
    plan.keep_order = request.keep_order;
    plan.tag = request.tag;
    if (request.line_buffer && request.keep_order)
        return fail("--line-buffer tells lines as they come: it does not go with --keep-order");
    plan.line_buffer = request.line_buffer;
    return plan;
}

ensemble::Show show_of(const MapRequest &request) {
    if (request.progress == "bar") return ensemble::Show::bar;
    if (request.progress == "lines") return ensemble::Show::lines;
    if (request.progress == "none") return ensemble::Show::none;
    return ::isatty(STDERR_FILENO) == 1 ? ensemble::Show::bar : ensemble::Show::lines;
}

Result<Fd> open_joblog(const MapRequest &request) {
    if (request.joblog.empty()) return Fd();
    int flags = O_WRONLY | O_CREAT | O_APPEND | (request.resume ? 0 : O_TRUNC);
    auto file = open_file(request.joblog, flags, 0666);
    if (!file) return fail_from(std::move(file), "job log");
    if (::lseek(file->get(), 0, SEEK_END) <= 0)
        if (auto ok = write_all(file->get(), ensemble::joblog_head); !ok)
            return fail_from(std::move(ok), "job log: " + request.joblog);
    return file;
}

} // namespace

std::vector<std::string> cut_inputs(const std::vector<std::string> &arguments,
                                    MapRequest &request) {
    constexpr std::array marks{":::", "::::", ":::+", "::::+"};
    auto first = std::ranges::find_if(arguments, [&](const std::string &argument) {
        return std::ranges::find(marks, argument) != marks.end();
    });
    request.inputs.assign(first, arguments.end());
    return {arguments.begin(), first};
}

Result<int> map(const MapRequest &request, const Env &env) {
    if (request.resume && request.journal.empty())
        return fail("--resume goes on with a journal; accepted: --journal=FILE beside it");
    auto plan = make_plan(request, env);
    if (!plan) return fail_from(std::move(plan));
    if (request.dry_run) {
        for (std::uint64_t number = 1; number <= plan->inputs.size(); number++)
            std::cout << plan->command.line(plan->inputs.row(number)) << '\n';
        return 0;
    }
    auto place = find_cluster(request, env);
    if (!place) return fail_from(std::move(place));
    ensemble::Journal journal;
    if (!request.journal.empty()) {
        auto opened = ensemble::Journal::open(request.journal, request.resume);
        if (!opened) return fail_from(std::move(opened));
        journal = std::move(*opened);
    }
    auto joblog = open_joblog(request);
    if (!joblog) return fail_from(std::move(joblog));
    ev::Loop loop;
    ensemble::Mapper mapper(loop, place->token, place->address, std::move(*plan),
                            std::move(journal), std::move(*joblog), show_of(request));
    return mapper.run();
}

} // namespace dtask::cli

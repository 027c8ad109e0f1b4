// SPDX-License-Identifier: Apache-2.0
//
// dtask: the command. It reads arguments, calls the room that does the work,
// and is the only one that prints.
#include <algorithm>
#include <functional>
#include <iostream>

#include <CLI/CLI.hpp>

#include "config.h"
#include "lib/base/env.h"
#include "lib/base/exit_codes.h"
#include "runtime/cli/doctor.h"
#include "runtime/cli/map.h"
#include "runtime/cli/run.h"
#include "runtime/cli/status.h"
#include "runtime/cli/tasks.h"
#include "runtime/cli/top.h"
#include "runtime/doctor/gather.h"

namespace {

using namespace dtask;

int refuse(const Error &error) {
    std::cerr << "dtask: " << error.text() << '\n';
    return exit_code::usage;
}

// CLI11 takes "[a,b]" apart as a list. An argument is what it is: it gets a mark in front
// that none begins with, which is taken away again.
constexpr char mark = '\x01';

std::string marked(std::string argument) {
    bool list = argument.size() > 1 && argument.front() == '[' && argument.back() == ']';
    return list ? mark + argument : argument;
}

void unmark(std::vector<std::string> &arguments) {
    for (auto &argument : arguments)
        if (argument.starts_with(mark)) argument.erase(0, 1);
}

// How --help shows an option: names, and one word for its value. scripts/manual reads it.
struct Help : CLI::Formatter {
    /// Without the "{on}" of a switch whose value may be left out.
    std::string make_option_name(const CLI::Option *option, bool is_positional) const override {
        auto name = CLI::Formatter::make_option_name(option, is_positional);
        return name.substr(0, name.find('{'));
    }
    std::string make_option_opts(const CLI::Option *option) const override {
        const auto &word = option->get_option_text();
        return word.empty() || word.starts_with('[') ? word : ' ' + word;
    }
};

// `dtask run` takes every option of srun's, without "dtask-": --slots for
// --dtask-slots. Those given are parsed over their twins in the environment.
struct RunArguments {
    cli::RunRequest request;
    std::map<std::string, std::string> given; ///< by key

    /// On one machine there is one network, and nobody makes cgroups.
    static bool applies(std::string_view key) { return key != "interface" && key != "cpus"; }

    void declare(CLI::App &app) {
        app.add_option("-n,--ntasks", request.ntasks,
                       "tasks of the cluster: 1 to 4096, must be given")
            ->required()
            ->option_text("N")
            ->check(CLI::Range(1u, 4096u));
        app.add_option("-c,--cpus-per-task", request.cpus_per_task,
                       "CPUs of each task: 1 (default) to 4096")
            ->option_text("P")
            ->check(CLI::Range(1u, 4096u));
        for (const auto &option : model::option_table()) {
            if (!applies(option.key)) continue;
            std::string key(option.key), name = key;
            std::replace(name.begin(), name.end(), '_', '-');
            // A switch alone is on; its value only follows an equals sign, for else it would
            // take the first word of the command.
            bool alone = option.argument_optional && key != "engine";
            std::string help(key == "engine" ? "engine of the cluster: native (default) or dask"
                                             : option.help);
            auto *added = alone ? app.add_flag("--" + name + "{on}", given[key], help)
                                : app.add_option("--" + name, given[key], help);
            std::string word(option.arginfo);
            added->option_text(alone ? "[=" + word + "]" : word);
        }
        app.add_option("command", request.command, "the client: a command and its arguments")
            ->option_text("...")
            ->required();
        app.positionals_at_end();
    }

    Result<int> run(const Env &env) {
        if (auto ok = model::parse_twins(request.options, env); !ok)
            return fail_from(std::move(ok));
        for (const auto &[key, value] : given) {
            if (value.empty()) continue;
            auto ok = model::parse(request.options, *model::find_key(key), value);
            if (!ok) return fail_from(std::move(ok));
        }
        if (request.options.engine == model::Engine::off)
            return fail("--engine=off: accepted by `dtask run`: native or dask");
        return cli::run(request, env);
    }
};

// The subcommands that look at a running cluster, or tell it something.
struct Look {
    cli::StatusRequest status;
    cli::TopRequest top;
    cli::ExplainRequest explain;
    cli::LogsRequest logs;
    cli::CancelRequest cancel;
    cli::StopRequest stop;
    double delay_s = 1;
    std::string chosen; ///< the subcommand
    std::function<Result<cli::Said>(const Env &)> act;

    template <class Request, class Act>
    CLI::App *add(CLI::App &app, const char *name, const char *help, Request &request, Act does) {
        auto *command = app.add_subcommand(name, help);
        command
            ->add_option("--scheduler-file", request.scheduler_file,
                         "connection file of the cluster: default $DTASK_SCHEDULER_FILE, else "
                         "the newest in .dtask/")
            ->option_text("FILE");
        command->callback([this, name, &request, does] {
            chosen = name;
            act = [&request, does](const Env &env) { return does(request, env); };
        });
        return command;
    }

    void declare(CLI::App &app) {
        auto *command = add(app, "status", "show a running cluster", status, cli::status);
        command->add_flag("--json", status.json, "print the answer as JSON");
        command->add_flag("--ping", status.ping,
                          "also reach each worker over the network of the tasks");
        command = add(app, "top", "watch a running cluster, live", top, cli::top);
        command->add_option("-d,--delay", delay_s, "seconds between looks: 0.1 to 3600, default 1")
            ->option_text("SECONDS")
            ->check(CLI::Range(0.1, 3600.0));
        command = add(app, "explain", "say where a task is, and why it does not run", explain,
                      cli::explain);
        command->add_flag("--json", explain.json, "print the answer as JSON");
        command->add_option("task", explain.task, "its name: FUNCTION-NUMBER, or NUMBER")
            ->required();
        command = add(app, "logs", "show what a worker has logged, or a task has written", logs,
                      cli::logs);
        command->add_option("-n,--lines", logs.lines, "only so many lines, the last ones")
            ->option_text("LINES")
            ->check(CLI::Range(1u, 1'000'000'000u));
        command->add_option("of", logs.of, "a worker's name, scheduler, or a task")->required();
        command = add(app, "cancel", "cancel tasks of any client", cancel, cli::cancel);
        command->add_flag("--all", cancel.all, "all tasks that wait or run");
        command->add_option("tasks", cancel.tasks, "their names: FUNCTION-NUMBER, or NUMBER");
        command = add(app, "stop", "have the client end, and with it the cluster", stop, cli::stop);
        command
            ->add_option("--timeout", stop.timeout_s,
                         "seconds to wait for the end: 1 to 86400, default 60")
            ->option_text("SECONDS")
            ->check(CLI::Range(1u, 86'400u));
    }

    int run(const Env &env) {
        for (auto *text : {&explain.task, &logs.of})
            if (text->starts_with(mark)) text->erase(0, 1);
        unmark(cancel.tasks);
        top.delay_ms = static_cast<std::uint64_t>(delay_s * 1'000);
        auto said = act(env);
        if (!said) {
            std::cerr << "dtask " << chosen << ": " << said.error().text() << '\n';
            return exit_code::usage;
        }
        std::cout << said->text << std::flush;
        for (std::size_t from = 0, end; from < said->error.size(); from = end + 1) {
            end = std::min(said->error.find('\n', from), said->error.size());
            std::cerr << "dtask " << chosen << ": " << said->error.substr(from, end - from) << '\n';
        }
        return said->code;
    }
};

void declare(CLI::App &app, cli::MapRequest &map) {
    auto option = [&app](const char *names, const char *word, auto &value, const char *help) {
        return app.add_option(names, value, help)->option_text(word);
    };
    option("-a,--arg-file", "FILE", map.files,
           "inputs are the lines of FILE, - is standard input; may be repeated")
        ->allow_extra_args(false);
    app.add_flag("-0,--null", map.null, "inputs end with a byte 0 instead of a newline");
    option("-C,--colsep", "TEXT", map.separator, "cut each input line into columns at this text");
    app.add_flag("--csv", map.csv, "inputs are CSV, whose first line names the columns");
    option("--header", ":", map.header, "the first line of each source names its columns");
    app.add_flag("--link,--xapply", map.link,
                 "take one input of each source, not all combinations");
    app.add_flag("--keep-empty", map.keep_empty, "an empty line is an input too");
    option("-c,--cpus", "N", map.cpus, "CPUs that each job takes of its worker: default 1")
        ->check(CLI::Range(1u, 4096u));
    option("-m,--memory", "SIZE", map.memory,
           "memory that each job may have with all that it starts, as 500M: default no limit");
    option("-t,--timeout", "TIME", map.timeout,
           "time that each job may run, in seconds, or as 10m, 2h, 1d: default no limit");
    option("-r,--retries", "N", map.retries,
           "how often a job that fails is run again: 0 (default) to 1000")
        ->check(CLI::Range(0u, 1000u));
    option("--max-fails", "N", map.max_fails, "stop when so many jobs have failed: default never")
        ->check(CLI::Range(1u, 1'000'000'000u));
    app.add_flag("-k,--keep-order", map.keep_order, "write output in the order of the inputs");
    app.add_flag("--tag", map.tag, "put each job's inputs before each line of its output");
    app.add_flag("--line-buffer,--linebuffer,--lb", map.line_buffer,
                 "write the lines of each job while it runs, not when it has ended");
    app.add_flag("--shell", map.shell, "always run the command by a shell");
    app.add_flag("-q,--quote", map.quote, "never run the command by a shell");
    option("-w,--workdir,--wd", "DIR", map.workdir, "directory of the jobs: default this one");
    option("--env", "NAME[=VALUE]", map.variables, "a variable for the jobs; may be repeated")
        ->allow_extra_args(false);
    option("-i,--input", "FILE", map.input,
           "what each job reads as its standard input: default /dev/null");
    option("-o,--output", "FILE", map.output, "file for each job's output and errors, as out/{#}");
    option("-e,--errors", "FILE", map.errors, "file for each job's errors");
    option("--joblog", "FILE", map.joblog, "write a line for each job that has ended");
    option("--journal", "FILE", map.journal, "remember in this file which jobs are done");
    app.add_flag("--resume", map.resume, "run only what the journal does not have as done");
    app.add_flag("--dry-run", map.dry_run, "print the commands, and run none");
    option("--progress", "HOW", map.progress, "auto (default), bar, lines or none")
        ->check(CLI::IsMember({"auto", "bar", "lines", "none"}));
    option("--scheduler-file", "FILE", map.scheduler_file,
           "connection file of the cluster: default the one that this is a client of, "
           "$DTASK_SCHEDULER_FILE, or the newest in .dtask/");
    option("command", "...", map.command, "the command, with {} where an input goes");
    app.positionals_at_end();
    app.footer("Inputs follow the command: ::: VALUE..., :::: FILE...; else they are the lines of "
               "standard input.\n");
}

Error no_such_command(CLI::App &app, const std::string &word) {
    std::string known;
    for (auto *command : app.get_subcommands({}))
        known += (known.empty() ? "" : ", ") + command->get_name();
    return Error((word.empty() ? "no command given" : word + ": no such command") +
                 "; accepted: " + known);
}

} // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): CLI11 throws where we declare an option wrongly
int main(int argc, char **argv) {
    Env env = Env::current();
    CLI::App app("Task clusters in Slurm job steps and on one machine.", "dtask");
    app.formatter(std::make_shared<Help>());
    app.set_help_flag("-h,--help", "print this text");
    app.set_version_flag("--version", "dtask " PACKAGE_VERSION, "print the version");
    app.require_subcommand(1);

    RunArguments run;
    auto *run_command = app.add_subcommand(
        "run", "bring a cluster up on this machine and run a command as its client");
    run.declare(*run_command);

    Look look;
    look.declare(app);

    bool doctor_json = false;
    auto *doctor_command = app.add_subcommand(
        "doctor", "check dtask's installation on this host and say how to mend it");
    doctor_command->add_flag("--json", doctor_json, "print one JSON object");

    cli::MapRequest map;
    auto *map_command =
        app.add_subcommand("map", "run a command for each of many inputs on a running cluster");
    declare(*map_command, map);

    for (auto *command : app.get_subcommands({}))
        command->footer(command->get_footer() + "See dtask-" + command->get_name() + "(1).");
    app.footer("See dtask(1), and dtask(7) for the cluster itself.");

    std::vector<std::string> arguments(argv + 1, argv + argc);
    if (!arguments.empty() && arguments.front() == "map")
        arguments = cli::cut_inputs(arguments, map);
    std::reverse(arguments.begin(), arguments.end()); // as CLI11 wants them
    for (auto &argument : arguments) argument = marked(std::move(argument));
    try {
        app.parse(std::move(arguments));
    } catch (const CLI::ParseError &error) { // how CLI11 reports, --help included
        if (error.get_exit_code() == 0) return app.exit(error);
        if (app.get_subcommands().empty() && error.get_name() == "RequiredError")
            return refuse(no_such_command(app, argc > 1 ? argv[1] : ""));
        return refuse(Error(error.what()));
    }

    for (auto *words : {&run.request.command, &map.command, &map.files, &map.variables})
        unmark(*words);
    for (auto *text : {&map.separator, &map.workdir, &map.input, &map.output, &map.errors,
                       &map.joblog, &map.journal})
        if (text->starts_with(mark)) text->erase(0, 1);
    if (run_command->parsed()) {
        auto code = run.run(env);
        if (code) return *code;
        // The rooms below speak of srun's options.
        std::string text = code.error().text();
        for (std::size_t at; (at = text.find("--dtask-")) != std::string::npos;)
            text.replace(at, 8, "--");
        return refuse(Error(std::move(text)));
    }
    if (map_command->parsed()) {
        auto code = cli::map(map, env);
        if (code) return *code;
        std::cerr << "dtask map: " << code.error().text() << '\n';
        return exit_code::usage;
    }
    if (doctor_command->parsed()) {
        auto facts = doctor::gather(env);
        auto findings = doctor::judge(facts);
        std::cout << (doctor_json ? cli::json(facts, findings) : cli::table(facts, findings));
        return cli::exit_code_of(findings);
    }
    return look.run(env);
}

// SPDX-License-Identifier: Apache-2.0
//
// dtask: the command. It reads arguments, calls the room that does the work,
// and is the only one that prints.
#include <algorithm>
#include <iostream>

#include <CLI/CLI.hpp>

#include "config.h"
#include "lib/base/env.h"
#include "lib/base/exit_codes.h"
#include "runtime/cli/run.h"
#include "runtime/cli/status.h"

namespace {

using namespace dtask;

int refuse(const Error &error) {
    std::cerr << "dtask: " << error.text() << '\n';
    return exit_code::usage;
}

// `dtask run` takes every option of srun's, without "dtask-": --slots for
// --dtask-slots. Those given are parsed over their twins in the environment.
struct RunArguments {
    cli::RunRequest request;
    std::map<std::string, std::string> given; ///< by key

    /// On one machine there is one network, and nobody makes cgroups.
    static bool applies(std::string_view key) { return key != "interface" && key != "cpus"; }

    void declare(CLI::App &app) {
        app.add_option("-n,--ntasks", request.ntasks, "tasks of the cluster")
            ->required()
            ->check(CLI::Range(1u, 4096u));
        app.add_option("-c,--cpus-per-task", request.cpus_per_task, "CPUs of each task")
            ->check(CLI::Range(1u, 4096u));
        for (const auto &option : model::option_table()) {
            if (!applies(option.key)) continue;
            std::string key(option.key), name = key;
            std::replace(name.begin(), name.end(), '_', '-');
            app.add_option("--" + name, given[key], std::string(option.help))
                ->type_name(std::string(option.arginfo));
        }
        app.add_option("command", request.command, "the client: a command and its arguments")
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

} // namespace

int main(int argc, char **argv) {
    Env env = Env::current();
    CLI::App app("Task clusters in Slurm job steps and on one machine.");
    app.set_version_flag("--version", "dtask " PACKAGE_VERSION);
    app.require_subcommand(1);

    RunArguments run;
    auto *run_command = app.add_subcommand(
        "run", "bring a cluster up on this machine and run a command as its client");
    run.declare(*run_command);

    cli::StatusRequest status;
    auto *status_command = app.add_subcommand("status", "show a running cluster");
    status_command->add_option("--scheduler-file", status.scheduler_file,
                               "scheduler file of the cluster (default: $DTASK_SCHEDULER_FILE, "
                               "else the newest in .dtask/)");
    status_command->add_flag("--json", status.json, "print JSON");
    status_command->add_flag("--ping", status.ping,
                             "also reach each worker over the network of the tasks");

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError &error) { // how CLI11 reports, --help included
        if (error.get_exit_code() == 0) return app.exit(error);
        return refuse(Error(error.what()));
    }

    if (run_command->parsed()) {
        auto code = run.run(env);
        if (code) return *code;
        // The rooms below speak of srun's options.
        std::string text = code.error().text();
        for (std::size_t at; (at = text.find("--dtask-")) != std::string::npos;)
            text.replace(at, 8, "--");
        return refuse(Error(std::move(text)));
    }
    auto text = cli::status(status, env);
    if (!text) return refuse(text.error());
    std::cout << *text;
    return 0;
}

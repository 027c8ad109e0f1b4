// SPDX-License-Identifier: Apache-2.0
//
// The launcher as a process: what DTASK_LAUNCH and argv say becomes a Launcher.
#include <csignal>

#include "lib/base/exit_codes.h"
#include "lib/base/log.h"
#include "runtime/launch/launcher.h"

namespace dtask::launch {

int main(Env env, const std::string &self, std::vector<std::string> arguments) {
    auto text = env.get(model::launch_variable);
    auto spec = model::launch_from_text(text.value_or(""));
    env.unset(model::launch_variable);
    (void)log::open("", log::Level::warning, "");
    auto refuse = [](const Error &error) {
        log::error(error.text());
        return exit_code::usage;
    };
    if (!spec) return refuse(std::move(spec).error().context(model::launch_variable));
    auto token = proto::Token::from_hex(spec->token);
    if (!token) return refuse(token.error());
    auto plan = model::plan(spec->options.slots, spec->ntasks, spec->cpus_per_task);
    if (!plan) return refuse(plan.error());

    // Put in front: "-- COMMAND ARGS"; in place of argv[0]: ARGS.
    std::string command = spec->argv0;
    if (command.empty()) {
        if (!arguments.empty() && arguments[0] == "--") arguments.erase(arguments.begin());
        if (arguments.empty()) return refuse(Error("no command given"));
        command = arguments[0];
        arguments.erase(arguments.begin());
    }
    (void)::signal(SIGPIPE, SIG_IGN);
    auto role = model::role_of(*plan, spec->rank);
    ev::Loop loop;
    Launcher launcher(loop, *token, std::move(*spec), role, std::move(env), self,
                      std::move(command), std::move(arguments));
    return launcher.run();
}

} // namespace dtask::launch

// SPDX-License-Identifier: Apache-2.0
//
// dtaskd: the program behind every task of a dtask step. Who it is:
//   with DTASK_LAUNCH in its environment   the task's launcher
//   dtaskd scheduler, dtaskd worker        what the launcher starts
#include <filesystem>
#include <iostream>
#include <string_view>

#include <sys/prctl.h>

#include "config.h"
#include "lib/base/env.h"
#include "lib/base/exit_codes.h"
#include "lib/model/launch.h"
#include "runtime/launch/launcher.h"
#include "runtime/scheduler/scheduler.h"
#include "runtime/worker/worker.h"

int main(int argc, char **argv) {
    using namespace dtask;
    // What a launcher has started by /proc/self/exe would be known to top and pgrep as "exe".
    (void)::prctl(PR_SET_NAME, "dtaskd");
    auto env = Env::current();
    if (env.get(model::launch_variable)) {
        std::error_code error;
        auto self = std::filesystem::read_symlink("/proc/self/exe", error).string();
        return launch::main(std::move(env), error ? argv[0] : self, {argv + 1, argv + argc});
    }
    std::string_view what = argc == 2 ? argv[1] : "";
    if (what == "scheduler") return scheduler::main(std::move(env));
    if (what == "worker") return worker::main(std::move(env));
    if (what == "--version") {
        std::cout << "dtaskd " PACKAGE_VERSION "\n";
        return 0;
    }
    if (what == "--help") {
        std::cout
            << "dtaskd: launcher, scheduler and worker of a task cluster.\n"
               "It is started by `srun --dtask` and `dtask run`, not by hand; see dtaskd(8).\n"
               "\n"
               "Options:\n"
               "  --help      print this text\n"
               "  --version   print the version\n";
        return 0;
    }
    std::cerr << "dtaskd: started by `srun --dtask` and `dtask run`, not by hand; "
                 "accepted: --help, --version\n";
    return exit_code::usage;
}

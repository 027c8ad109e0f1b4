// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/restarts.h"

#include <algorithm>
#include <csignal>

#include <sys/wait.h>

#include "lib/base/exit_codes.h"
#include "lib/base/spawn.h"

namespace dtask::launch {

namespace {

constexpr unsigned most_redials = 20;
constexpr std::int64_t first_pause_ms = 100;
constexpr unsigned most_doublings = 10;

} // namespace

Restarts::Verdict Restarts::after(int status, const Task &task) {
    using What = Verdict::What;
    auto over = [](int code) { return Verdict{What::over, code, 0, ""}; };
    auto unfit = [](std::string why) { return Verdict{What::unfit, 0, 0, std::move(why)}; };

    int code = shell_code(status);
    if (code == 0) return over(0);
    // Woken (see Launcher::wake_other_tasks) before it knew what that means.
    bool woken = WIFSIGNALED(status) && WTERMSIG(status) == SIGINT;
    if (task.terminated || (woken && task.alone)) return over(0);
    if (code == exit_code::unfit) return over(0);
    // One that served before comes back to a cluster that has ended: with
    // which code, the client's launcher and the scheduler's say.
    if (code == exit_code::no_scheduler) return over(count() > 0 ? 0 : exit_code::cluster_lost);
    if (code == exit_code::cluster_lost && redials_ < most_redials) {
        // Its connection broke. If the scheduler lives it is found again at once.
        redials_++;
        return {What::again, 0, 0, ""};
    }
    if (code == exit_code::usage && task.interrupted && task.alone) return over(0); // in the midst
    if (code == exit_code::usage) return unfit("its worker could not start");
    auto ended = "ended with " + describe_status(status);
    if (deaths_ >= most_)
        return unfit("its worker " + ended + " and was restarted " + std::to_string(deaths_) +
                     " times already (--dtask-restarts)");
    auto pause = first_pause_ms << std::min(deaths_, most_doublings);
    deaths_++;
    return {What::again, 0, pause, "the worker " + ended + "; it is restarted"};
}

} // namespace dtask::launch

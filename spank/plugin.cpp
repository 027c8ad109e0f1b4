// SPDX-License-Identifier: Apache-2.0
//
// Plugin: the C ABI by which Slurm knows us, and nothing else: each hook
// forwards to Local or Remote, prints what they report, and lets no exception out.
//
// In srun, sbatch and salloc a refusal ends the process here, with one line
// and the exit code that Slurm itself would use. Returned as a failure it
// would be refused as well, but with a second line of Slurm's.
//
// The symbols are written by hand: SPANK_PLUGIN() would give them internal
// linkage in C++. dtask.map exports them and nothing besides.
#include <cstdlib>
#include <exception>
#include <memory>

#include "lib/base/strings.h"
#include "spank/api.h"
#include "spank/epilog.h"
#include "spank/local.h"
#include "spank/remote.h"

#ifndef DTASK_LIBEXECDIR
#define DTASK_LIBEXECDIR "/usr/libexec/dtask"
#endif
#define DTASK_EXPORT extern "C" __attribute__((visibility("default")))

extern "C" {
#pragma GCC visibility push(default)
extern const char plugin_name[];
extern const char plugin_type[];
extern const unsigned int plugin_version;
extern const unsigned int spank_plugin_version;
#pragma GCC visibility pop
const char plugin_name[] = "dtask";
const char plugin_type[] = "spank";
const unsigned int plugin_version = SLURM_VERSION_NUMBER;
const unsigned int spank_plugin_version = 1;
}

namespace {

using dtask::Result;
using dtask::spank::Local;
using dtask::spank::Remote;

constexpr const char *default_launcher = DTASK_LIBEXECDIR "/dtaskd";

// Never freed: srun calls slurm_spank_exit from an exit handler.
Local *local = nullptr;
Remote *remote = nullptr;

/// Runs `body`; an exception becomes a failure. Returns 0 or -1, as Slurm
/// before 23.11 takes only negative numbers for failures.
template <class Body> int guarded(Body body) noexcept {
    try {
        Result<void> done = body();
        if (done) return 0;
        slurm_error("%s", done.error().text().c_str());
    } catch (const std::exception &e) {
        slurm_error("dtask: %s", e.what());
    } catch (...) {
        slurm_error("dtask: unknown exception");
    }
    return -1;
}

int exit_code() {
    const char *text = std::getenv("SLURM_EXIT_ERROR");
    auto code = text ? dtask::parse_uint(text, 255) : std::nullopt;
    return code && *code > 0 ? static_cast<int>(*code) : 1;
}

/// As guarded, but a failure ends srun, sbatch or salloc.
template <class Body> int or_exit(Body body) noexcept {
    if (guarded(body) == 0) return 0;
    std::exit(exit_code());
}

int option_callback(int value, const char *argument, int is_remote) noexcept {
    // On the nodes the resolved options come by the environment instead.
    if (is_remote || !local) return 0;
    guarded([&]() -> Result<void> {
        local->on_option(static_cast<std::size_t>(value), argument);
        return {};
    });
    return 0;
}

} // namespace

// The hooks themselves cannot be noexcept, since spank.h declares them without;
// guarded() is.

DTASK_EXPORT int slurm_spank_init(spank_t sp, int ac, char **av) {
    // A failure here could keep all jobs of the cluster from running: none is returned.
    guarded([&]() -> Result<void> {
        auto context = spank_context();
        std::span<const char *const> words(av, static_cast<std::size_t>(ac));
        if (context == S_CTX_LOCAL || context == S_CTX_ALLOCATOR)
            local = new Local(context == S_CTX_LOCAL, words, default_launcher);
        else if (context == S_CTX_REMOTE)
            remote = new Remote(words, default_launcher);
        else
            return {};
        dtask::spank::register_options(sp, option_callback);
        return {};
    });
    return 0;
}

DTASK_EXPORT int slurm_spank_init_post_opt(spank_t, int, char **) {
    if (!local) return 0;
    return or_exit([] { return local->on_options_done(); });
}

DTASK_EXPORT int slurm_spank_local_user_init(spank_t sp, int, char **) {
    if (!local) return 0;
    return or_exit([&]() -> Result<void> {
        auto notice = local->on_step_made(sp);
        if (!notice) return dtask::fail_from(std::move(notice));
        if (!notice->empty()) slurm_info("%s", notice->c_str());
        return {};
    });
}

DTASK_EXPORT int slurm_spank_task_post_fork(spank_t sp, int, char **) {
    // Whether the task may run without is for task_init to say, and for the launcher to tell
    // the user, once: why it is so is for the node's log.
    if (!remote) return 0;
    guarded([&]() -> Result<void> {
        if (auto done = remote->on_task_forked(sp); !done)
            slurm_info("%s", done.error().text().c_str());
        return {};
    });
    return 0;
}

DTASK_EXPORT int slurm_spank_task_init(spank_t sp, int, char **) {
    if (!remote) return 0;
    return guarded([&] { return remote->on_task_init(sp); });
}

DTASK_EXPORT int slurm_spank_task_exit(spank_t sp, int, char **) {
    if (remote)
        guarded([&]() -> Result<void> {
            remote->on_task_exit(sp);
            return {};
        });
    return 0;
}

DTASK_EXPORT int slurm_spank_exit(spank_t, int, char **) {
    if (remote)
        guarded([]() -> Result<void> {
            remote->on_exit();
            return {};
        });
    return 0;
}

DTASK_EXPORT int slurm_spank_job_epilog(spank_t sp, int ac, char **av) {
    // A failure would drain the node: what cannot be removed is only told.
    guarded([&] {
        return dtask::spank::on_job_ended(sp, {av, static_cast<std::size_t>(ac)}, default_launcher);
    });
    return 0;
}

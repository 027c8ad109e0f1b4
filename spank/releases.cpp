// SPDX-License-Identifier: Apache-2.0
#include "spank/releases.h"

#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <cstring>

namespace dtask::spank {

// Headers of an older release have the oldest names for what is used here, but were never tried.
static_assert(SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(22, 5, 0), "Slurm 22.05 or later");

#ifdef HAVE_SPANK_PREPEND_TASK_ARGV

Result<std::string> put_in_front(spank_t spank, const std::string &launcher) {
    const char *front[]{launcher.c_str(), "--"};
    if (auto rc = spank_prepend_task_argv(spank, 2, front); rc != ESPANK_SUCCESS)
        return fail(std::string("spank_prepend_task_argv: ") + spank_strerror(rc));
    return std::string();
}

#else

Result<std::string> put_in_front(spank_t spank, const std::string &launcher) {
    int argc = 0;
    char **argv = nullptr;
    if (spank_get_item(spank, S_JOB_ARGV, &argc, &argv) != ESPANK_SUCCESS || argc < 1 || !argv[0])
        return fail("the step has no command");
    std::string first = argv[0];
    // The vector is this process' own copy and ends with its exec.
    char *replacement = ::strdup(launcher.c_str());
    if (!replacement) return fail_errno("strdup");
    argv[0] = replacement;
    return first;
}

#endif

} // namespace dtask::spank

// SPDX-License-Identifier: Apache-2.0
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "spank/epilog.h"

#include <time.h>

#include "lib/cgroup/cgroup.h"
#include "lib/model/site.h"

namespace dtask::spank {

Result<void> on_job_ended(spank_t spank, std::span<const char *const> words,
                          std::string_view default_launcher) {
    auto site = model::parse_site(words, default_launcher);
    if (!site) return {}; // the steps have said so
    std::uint32_t job = 0;
    uid_t uid = 0;
    if (spank_get_item(spank, S_JOB_ID, &job) != ESPANK_SUCCESS ||
        spank_get_item(spank, S_JOB_UID, &uid) != ESPANK_SUCCESS)
        return {};
    auto layout = cgroup::system_layout(site->cgroup_root);
    if (!layout) return fail_from(std::move(layout));
    auto driver = cgroup::make_driver(std::move(*layout));
    if (!driver) return {}; // a machine without cgroups: nothing was made
    auto done = (*driver)->sweep(job, uid);
    for (int tries = 100; !done && tries > 0; tries--) {
        timespec time{0, 10'000'000};
        ::nanosleep(&time, nullptr);
        done = (*driver)->sweep(job, uid);
    }
    if (!done) return fail_from(std::move(done), "dtask: cgroups of job " + std::to_string(job));
    return {};
}

} // namespace dtask::spank

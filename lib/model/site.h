// SPDX-License-Identifier: Apache-2.0
//
// Site: what the administrator wrote after the plugin's path in
// plugstack.conf, as key=value words. Every option has its key there, and
// besides
//
//   ports=LO-HI         ports that scheduler and workers may listen on
//   launcher=PATH       dtaskd, an absolute path that exists on every node
//   cgroup_root=PATH    where cgroups are mounted, /sys/fs/cgroup as a rule
//
// and what users may have, which srun says and slurmstepd holds:
//
//   engines=LIST        native, dask or both
//   interfaces=LIST     names that --dtask-interface may have, besides auto
//   max_workers=N       of one step
//   syslog=on           a line for each step that becomes a cluster
//
// Each key may stand once, an unknown one is refused. Parsing is pure.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>

#include "lib/base/result.h"
#include "lib/model/options.h"
#include "lib/model/slots.h"

namespace dtask::model {

struct Site {
    Options options; ///< defaults of this site
    std::uint16_t first_port = 0;
    std::uint16_t last_port = 0; ///< both 0: not limited
    std::string launcher;
    std::string cgroup_root = "/sys/fs/cgroup";
    std::set<Engine> engines;                      ///< empty: all
    std::set<std::string, std::less<>> interfaces; ///< empty: all
    std::uint32_t max_workers = 0;                 ///< 0: as many as fit
    bool syslog = false;
};

/// `launcher` is the default for launcher=.
Result<Site> parse_site(std::span<const char *const> words, std::string_view launcher);

/// Whether this site lets a step have these. The error names the option and what is accepted.
Result<void> permit(const Site &site, const Options &options);
Result<void> permit(const Site &site, const Plan &plan);

} // namespace dtask::model

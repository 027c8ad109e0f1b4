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
// Each key may stand once, an unknown one is refused. Parsing is pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "lib/base/result.h"
#include "lib/model/options.h"

namespace dtask::model {

struct Site {
    Options options; ///< defaults of this site
    std::uint16_t first_port = 0;
    std::uint16_t last_port = 0; ///< both 0: not limited
    std::string launcher;
    std::string cgroup_root = "/sys/fs/cgroup";
};

/// `launcher` is the default for launcher=.
Result<Site> parse_site(std::span<const char *const> words, std::string_view launcher);

} // namespace dtask::model

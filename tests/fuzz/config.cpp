// SPDX-License-Identifier: Apache-2.0
//
// The words after the plugin's path in plugstack.conf, blank by blank.
#include <string>
#include <vector>

#include "spank/config.h"
#include "tests/fuzz/target.h"

DTASK_FUZZ_TARGET(config, bytes) {
    std::string text(bytes);
    std::vector<const char *> words;
    bool inside = false;
    for (char &c : text) {
        bool blank = c == ' ' || c == '\0' || c == '\n';
        if (blank) c = '\0';
        if (!blank && !inside) words.push_back(&c);
        inside = !blank;
    }
    auto config = dtask::spank::parse_config(words, "/usr/libexec/dtask/dtaskd");
    if (!config) {
        promise(!config.error().text().empty());
        return;
    }
    promise(config->launcher.starts_with('/') && config->cgroup_root.starts_with('/'));
    promise((config->first_port == 0) == (config->last_port == 0));
    promise(config->first_port <= config->last_port);
}

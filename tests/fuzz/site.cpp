// SPDX-License-Identifier: Apache-2.0
//
// The words after the plugin's path in plugstack.conf, blank by blank.
#include <string>
#include <vector>

#include "lib/model/site.h"
#include "tests/fuzz/target.h"

DTASK_FUZZ_TARGET(site, bytes) {
    std::string text(bytes);
    std::vector<const char *> words;
    bool inside = false;
    for (char &c : text) {
        bool blank = c == ' ' || c == '\0' || c == '\n';
        if (blank) c = '\0';
        if (!blank && !inside) words.push_back(&c);
        inside = !blank;
    }
    auto site = dtask::model::parse_site(words, "/usr/libexec/dtask/dtaskd");
    if (!site) {
        promise(!site.error().text().empty());
        return;
    }
    promise(site->launcher.starts_with('/') && site->cgroup_root.starts_with('/'));
    promise((site->first_port == 0) == (site->last_port == 0));
    promise(site->first_port <= site->last_port);
}

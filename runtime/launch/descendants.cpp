// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/descendants.h"

#include <csignal>
#include <string>
#include <vector>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/strings.h"

namespace dtask::launch {

namespace {

// A process that forks while it is being killed shows up in the next round.
constexpr int most_rounds = 1000;

std::vector<pid_t> children() {
    std::vector<pid_t> pids;
    auto self = std::to_string(::getpid());
    auto text = read_file("/proc/self/task/" + self + "/children");
    if (!text) return pids;
    for (auto word : split(*text, ' '))
        if (auto pid = parse_uint(trim(word), INT32_MAX)) pids.push_back(static_cast<pid_t>(*pid));
    return pids;
}

} // namespace

void adopt_orphans() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }

void kill_children_of(const std::string &name) {
    std::string wanted = "DTASK_WORKER=" + name;
    for (auto pid : children()) {
        auto environment = read_file("/proc/" + std::to_string(pid) + "/environ");
        if (!environment) continue;
        for (auto entry : split(*environment, '\0'))
            if (entry == wanted) ::kill(pid, SIGKILL);
    }
}

void kill_descendants() {
    for (int round = 0; round < most_rounds; round++) {
        auto pids = children();
        if (pids.empty()) return;
        for (auto pid : pids) ::kill(pid, SIGKILL);
        for (auto pid : pids) {
            while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
            }
        }
    }
}

} // namespace dtask::launch

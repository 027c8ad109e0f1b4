// SPDX-License-Identifier: Apache-2.0
//
// What the kernel says of cgroups: /proc/PID/cgroup, /proc/PID/mountinfo, and
// the files of a worker's group, as root's side and the user's side read them.
#include "lib/cgroup/cgroup.h"

#include <filesystem>
#include <fstream>

#include <stdlib.h>
#include <unistd.h>

#include "tests/fuzz/target.h"

using namespace dtask;
using namespace dtask::cgroup;
namespace fs = std::filesystem;

namespace {

void read_membership(std::string_view bytes) {
    auto members = parse_membership(bytes);
    if (!members) return;
    for (const auto &member : *members) {
        promise(member.path.starts_with('/'));
        if (auto task = own_task_path(member.path)) promise(member.path.starts_with(*task));
    }
}

void read_mounts(std::string_view bytes) {
    auto mounts = parse_mounts(bytes);
    if (!mounts) return;
    for (const auto &mount : *mounts) {
        promise(mount.root.starts_with('/') && mount.point.starts_with('/'));
        promise(mount.point.find('\0') == std::string::npos);
        promise(!mount.v2 || mount.controllers.empty());
    }
}

/// Groups of both versions, whose files all say the same.
class Groups {
public:
    Groups() {
        // In memory: a disk has to be waited for when a file is written anew.
        std::string pattern = "/dev/shm/dtask-fuzz-XXXXXX";
        promise(::mkdtemp(pattern.data()));
        top_ = pattern;
        for (bool v2 : {false, true}) {
            Layout layout;
            layout.root = top_ + (v2 ? "/v2" : "/v1");
            layout.check_magic = false;
            Membership self;
            if (v2) {
                layout.mounts = {{"/", layout.root, true, {}}};
                self = {{0, {}, "/task_0"}};
                make(layout.root + "/task_0",
                     {"memory.high", "memory.current", "memory.peak", "memory.events", "cpu.max"});
            } else {
                layout.mounts = {{"/", layout.root, false, {"memory", "cpu"}}};
                self = {{1, {"memory", "cpu"}, "/task_0"}};
                make(layout.root + "/task_0/dtask",
                     {"cgroup.procs", "memory.limit_in_bytes", "memory.usage_in_bytes",
                      "memory.max_usage_in_bytes", "memory.oom_control", "cpu.cfs_quota_us"});
            }
            auto found = WorkerGroup::find(layout, self, {});
            promise(found && *found);
            groups_.push_back(std::move(**found));
        }
    }
    ~Groups() { fs::remove_all(top_); }

    void say(std::string_view bytes) {
        for (const auto &file : files_) std::ofstream(file, std::ios::binary) << bytes;
        for (const auto &group : groups_) {
            if (auto limit = group.memory_limit(); limit && group.version() == 1)
                promise(*limit < std::uint64_t{1} << 62);
            (void)group.memory_usage();
            (void)group.memory_peak();
            if (group.oom_kills()) promise(bytes.find("oom_kill ") != bytes.npos);
        }
    }

private:
    void make(const std::string &directory, std::initializer_list<const char *> names) {
        fs::create_directories(directory);
        for (const char *name : names) {
            files_.push_back(directory + '/' + name);
            std::ofstream(files_.back()) << "1\n"; // a limit, so that the group is found
        }
    }
    std::string top_;
    std::vector<std::string> files_;
    std::vector<WorkerGroup> groups_;
};

} // namespace

DTASK_FUZZ_TARGET(cgroup, bytes) {
    static Groups groups;
    read_membership(bytes);
    read_mounts(bytes);
    groups.say(bytes);
}

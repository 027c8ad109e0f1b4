// SPDX-License-Identifier: Apache-2.0
//
// Tree: a plain directory that plays /sys/fs/cgroup; born() and dying() play the kernel.
#pragma once

#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/cgroup/cgroup.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

namespace dtask::test {

constexpr const char *cgroup_files[]{
    "cgroup.procs",          "memory.limit_in_bytes", "memory.max_usage_in_bytes",
    "memory.usage_in_bytes", "memory.oom_control",    "memory.use_hierarchy",
    "cpu.cfs_period_us",     "cpu.cfs_quota_us"};

inline void born(int directory) {
    for (const char *name : cgroup_files)
        Fd(::openat(directory, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    Fd hierarchy(::openat(directory, "memory.use_hierarchy", O_WRONLY | O_CLOEXEC));
    ck_assert_int_eq(::write(hierarchy.get(), "1\n", 2), 2);
}

inline void dying(int directory) {
    for (const char *name : cgroup_files) ::unlinkat(directory, name, 0);
}

inline std::string get(const std::string &path) { return must(read_file(path)); }

class Tree : public Scratch {
public:
    explicit Tree(bool v2) {
        layout.root = path();
        layout.check_magic = false;
        layout.born = born;
        layout.dying = dying;
        if (v2) {
            layout.mounts.push_back({"/", path(), true, {}});
        } else {
            layout.mounts.push_back({"/", *this / "memory", false, {"memory"}});
            layout.mounts.push_back({"/", *this / "cpu", false, {"cpu"}});
            std::filesystem::create_directories(*this /
                                                "memory/slurm_n1/uid_7/job_1/step_0/task_0");
            std::filesystem::create_directories(*this / "cpu");
        }
    }
    cgroup::Layout layout;
};

class V2Tree : public Tree {
public:
    V2Tree() : Tree(true) {
        task = *this / "system.slice/n1_slurmstepd.scope/job_1/step_0/user/task_0";
        std::filesystem::create_directories(task);
        for (const char *file : {"memory.high", "memory.max", "memory.swap.max"})
            put(task + '/' + file, "max\n");
        put(task + "/cpu.max", "max 100000\n");
    }
    std::string task;
};

} // namespace dtask::test

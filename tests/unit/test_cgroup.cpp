// SPDX-License-Identifier: Apache-2.0
//
// A plain directory plays /sys/fs/cgroup (cgroup_tree.h). The drivers meet a real kernel in
// tests/slurm.
#include "tests/unit/unit.h"

#include <filesystem>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/cgroup/cgroup.h"
#include "tests/unit/cgroup_tree.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using namespace dtask::cgroup;
namespace fs = std::filesystem;
using dtask::test::born;
using dtask::test::error_of;
using dtask::test::get;
using dtask::test::mib;
using dtask::test::must;
using dtask::test::put;
using dtask::test::Tree;
using dtask::test::V2Tree;

namespace {

const Membership v1_member{{4, {"memory"}, "/slurm_n1/uid_7/job_1/step_0/task_0"},
                           {1, {"cpu"}, "/"}};
const Membership v2_member{{0, {}, "/system.slice/n1_slurmstepd.scope/job_1/step_0/user/task_0"}};
constexpr GroupName name{1, 0, 5};
const std::string own = "memory/slurm_n1/uid_7/job_1/step_0/task_0/dtask";

START_TEST(test_membership) {
    auto all = must(parse_membership("12:name=systemd:/a\n4:cpu,cpuacct:/b:c\n0::/d\n"));
    ck_assert_uint_eq(all.size(), 3);
    ck_assert_uint_eq(all[1].hierarchy, 4);
    ck_assert_uint_eq(all[1].controllers.size(), 2);
    ck_text_eq(all[1].controllers[1], "cpuacct");
    ck_text_eq(all[1].path, "/b:c");
    ck_assert(all[2].controllers.empty());
    ck_assert_uint_eq(must(parse_membership("")).size(), 0);
}
END_TEST

START_TEST(test_bad_membership) {
    for (const char *text : {"x", "1:cpu", ":cpu:/", "-1:cpu:/", "1x:cpu:/", "4294967296:cpu:/",
                             "1:cpu:", "1:cpu:relative", "1:cpu:/\n\n2:memory:/"})
        ck_assert_msg(!parse_membership(text), "accepted: %s", text);
}
END_TEST

constexpr const char *mountinfo =
    "22 1 0:20 / /sys rw - sysfs sysfs rw\n"
    "30 22 0:25 / /sys/fs/cgroup rw shared:8 - tmpfs tmpfs rw,mode=755\n"
    "31 30 0:26 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n"
    "33 30 0:28 /docker/x /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "34 30 0:29 / /sys/fs/cgroup/a\\040b rw shared:1 master:2 - cgroup cgroup "
    "rw,xattr,name=systemd\n";

START_TEST(test_mounts) {
    auto all = must(parse_mounts(mountinfo));
    ck_assert_uint_eq(all.size(), 3);
    ck_assert(all[0].v2);
    ck_text_eq(all[1].root, "/docker/x");
    ck_assert_uint_eq(all[1].controllers.size(), 2);
    ck_text_eq(all[2].point, "/sys/fs/cgroup/a b");
    ck_assert(all[2].controllers.empty());
}
END_TEST

START_TEST(test_bad_mounts) {
    for (const char *text :
         {"x", "1 2 3 / /p rw", "1 2 3 / /p - cgroup cgroup rw", "1 2 3 / /p rw - cgroup",
          "1 2 3 / p rw - cgroup cgroup rw", "1 2 3 r /p rw - cgroup2 cgroup2 rw",
          "1 2 3 / /\\04 rw - cgroup cgroup rw", "1 2 3 / /\\000 rw - cgroup cgroup rw",
          "1 2 3 / /\\777 rw - cgroup cgroup rw", "1 2 3 / /a\\ rw - cgroup cgroup rw"})
        ck_assert_msg(!parse_mounts(text), "accepted: %s", text);
}
END_TEST

START_TEST(test_own_task_path) {
    ck_text_eq(own_task_path("/x/task_0").value_or(""), "/x/task_0");
    ck_text_eq(own_task_path("/x/task_17/dtask").value_or(""), "/x/task_17");
    for (const char *path :
         {"/", "", "/x", "/x/task_special", "/x/task_", "/x/task_1/", "/x/task_-1", "/x/task_1a",
          "/x/task_99999999999", "/x/task_0/other", "/x/dtask", "/x/task_0/dtask/dtask"})
        ck_assert_msg(!own_task_path(path), "accepted: %s", path);
}
END_TEST

/// A step of which nobody is left to remove anything.
START_TEST(test_v1_sweeps) {
    Tree tree(false);
    auto driver = must(make_driver(tree.layout));
    GroupName other{2, 0, 0};
    must(driver->make_worker_group(v1_member, name, {1 << 20, 200'000}, getuid()));
    must(driver->make_worker_group({{4, {"memory"}, "/"}, {1, {"cpu"}, "/"}}, other,
                                   {1 << 20, 200'000}, getuid()));
    must(driver->sweep(3, 7));
    must(driver->sweep(1, 8)); // another user's tasks
    ck_assert(fs::exists(tree / own));
    ck_assert(!fs::exists(tree / "cpu/dtask/job_1"));
    must(driver->sweep(1, 7));
    ck_assert(!fs::exists(tree / own));
    ck_assert(fs::exists(tree / "memory/slurm_n1/uid_7/job_1/step_0/task_0")); // Slurm's
    ck_assert(fs::exists(tree / "cpu/dtask/job_2/step_0/task_0"));
    ck_assert(fs::exists(tree / "memory/dtask/job_2/step_0/task_0"));
    fs::create_directory(tree / "cpu/dtask/job_2/step_0/task_0/busy");
    ck_contains(error_of(driver->sweep(2, 7)), "has processes");
    ck_assert(!fs::exists(tree / "memory/dtask"));
    fs::remove(tree / "cpu/dtask/job_2/step_0/task_0/busy");
    must(driver->sweep(2, 7));
    ck_assert(!fs::exists(tree / "cpu/dtask"));
}
END_TEST

START_TEST(test_v1_makes_and_removes) {
    Tree tree(false);
    auto driver = must(make_driver(tree.layout));
    ck_assert_int_eq(driver->version(), 1);
    must(driver->make_worker_group(v1_member, name, {1 << 20, 200'000}, getuid()));
    ck_text_eq(get(tree / own + "/memory.limit_in_bytes"), "1048576");
    std::string cpu = tree / "cpu/dtask/job_1/step_0/task_5";
    ck_text_eq(get(cpu + "/cpu.cfs_period_us"), "100000");
    ck_text_eq(get(cpu + "/cpu.cfs_quota_us"), "200000");
    must(driver->remove(v1_member, name));
    ck_assert(!fs::exists(tree / own));
    ck_assert(!fs::exists(tree / "cpu/dtask"));
    must(driver->remove(v1_member, name)); // a second time is no error
}
END_TEST

// For commands with limits of their own: their directories are root's, and go with the worker's.
START_TEST(test_v1_groups_for_commands) {
    Tree tree(false);
    auto driver = must(make_driver(tree.layout));
    cgroup::Limits limits{1 << 20, 0};
    limits.commands = 2;
    must(driver->make_worker_group(v1_member, name, limits, getuid()));
    ck_assert(fs::exists(tree / own + "/command_1/cgroup.procs"));
    ck_assert(!fs::exists(tree / own + "/command_2"));

    auto worker = must(WorkerGroup::find(tree.layout, v1_member, name));
    auto groups = worker->open_command_groups();
    ck_assert_uint_eq(groups.size(), 2);
    put(tree / own + "/command_1/memory.max_usage_in_bytes", "5000");
    must(groups[1].set_limit(8192));
    ck_text_eq(get(tree / own + "/command_1/memory.limit_in_bytes"), "8192");
    ck_assert_uint_eq(must(groups[1].peak()), 0);
    put(tree / own + "/command_1/memory.oom_control", "oom_kill_disable 0\noom_kill 3\n");
    ck_assert_uint_eq(must(groups[1].oom_kills()), 3);
    ck_text_eq(get(tree / own + "/command_0/memory.limit_in_bytes"), "");

    must(driver->remove(v1_member, name));
    ck_assert(!fs::exists(tree / own));

    // However many CPUs there are.
    limits.commands = 100'000;
    must(driver->make_worker_group(v1_member, name, limits, getuid()));
    worker = must(WorkerGroup::find(tree.layout, v1_member, name));
    ck_assert_uint_eq(worker->open_command_groups().size(), most_command_groups);
    must(driver->sweep(1, 7));
    ck_assert(!fs::exists(tree / own));
}
END_TEST

START_TEST(test_v1_no_groups_for_commands_that_would_not_be_bound) {
    Tree tree(false);
    tree.layout.born = [](int directory) {
        born(directory);
        Fd hierarchy(::openat(directory, "memory.use_hierarchy", O_WRONLY | O_CLOEXEC));
        ck_assert_int_eq(::write(hierarchy.get(), "0\n", 2), 2);
    };
    auto driver = must(make_driver(tree.layout));
    cgroup::Limits limits{1 << 20, 0};
    limits.commands = 2;
    must(driver->make_worker_group(v1_member, name, limits, getuid()));
    ck_assert(fs::exists(tree / own));
    ck_assert(!fs::exists(tree / own + "/command_0"));
    must(driver->remove(v1_member, name));
}
END_TEST

START_TEST(test_v1_makes_only_what_is_limited) {
    Tree tree(false);
    auto driver = must(make_driver(tree.layout));
    must(driver->make_worker_group(v1_member, name, {0, 100'000}, getuid()));
    ck_assert(!fs::exists(tree / own));
    ck_assert(fs::exists(tree / "cpu/dtask/job_1/step_0/task_5"));
    must(driver->remove(v1_member, name));
    must(driver->make_worker_group(v1_member, name, {4096, 0}, getuid()));
    ck_assert(fs::exists(tree / own));
    ck_assert(!fs::exists(tree / "cpu/dtask"));
}
END_TEST

START_TEST(test_v1_leaves_other_tasks_groups) {
    Tree tree(false);
    auto driver = must(make_driver(tree.layout));
    must(driver->make_worker_group(v1_member, name, {0, 100'000}, getuid()));
    GroupName other{1, 0, 6};
    must(driver->make_worker_group(v1_member, other, {0, 100'000}, getuid()));
    must(driver->remove(v1_member, name));
    ck_assert(fs::exists(tree / "cpu/dtask/job_1/step_0/task_6"));
    must(driver->remove(v1_member, other));
    ck_assert(!fs::exists(tree / "cpu/dtask"));
}
END_TEST

START_TEST(test_v1_seals_what_slurm_gave_to_the_user) {
    if (::geteuid() != 0)
        return; // whoever makes directories owns them, and nobody else can be given any
    Tree tree(false);
    auto driver = must(make_driver(tree.layout));
    const std::string job = tree / "memory/slurm_n1/uid_7/job_1", step = job + "/step_0",
                      task = step + "/task_0";
    constexpr uid_t user = 7, other = 8;
    auto owner = [](const std::string &path) {
        struct stat about {};
        ck_assert_int_eq(::stat(path.c_str(), &about), 0);
        return about.st_uid;
    };
    for (const auto &path : {step, task}) ck_assert_int_eq(::chown(path.c_str(), user, user), 0);
    ck_assert_int_eq(::chown(job.c_str(), other, other), 0);
    must(driver->seal(v1_member, user));
    ck_assert_uint_eq(owner(step), 0);
    ck_assert_uint_eq(owner(task), 0);
    ck_assert_uint_eq(owner(job), other); // not what is another's
    Membership shared{{4, {"memory"}, "/slurm_n1/uid_7/job_1/step_0/task_special"}};
    must(driver->seal(shared, user)); // nothing of the task's own
}
END_TEST

START_TEST(test_v1_shared_task_gets_a_tree_of_ours) {
    Tree tree(false);
    auto driver = must(make_driver(tree.layout));
    Membership shared{{4, {"memory"}, "/slurm_n1/uid_7/job_1/step_0/task_special"},
                      {1, {"cpu"}, "/"}};
    must(driver->make_worker_group(shared, name, {4096, 0}, getuid()));
    ck_assert(fs::exists(tree / "memory/dtask/job_1/step_0/task_5"));
    ck_assert(!fs::exists(tree / own));
}
END_TEST

START_TEST(test_v1_failure_leaves_nothing) {
    Tree tree(false);
    tree.layout.mounts[1].point = tree / "nowhere"; // the cpu controller
    auto driver = must(make_driver(tree.layout));
    ck_contains(error_of(driver->make_worker_group(v1_member, name, {4096, 100'000}, getuid())),
                "nowhere");
    ck_assert(!fs::exists(tree / own));
    tree.layout.mounts.pop_back();
    driver = must(make_driver(tree.layout));
    ck_contains(error_of(driver->make_worker_group(v1_member, name, {4096, 100'000}, getuid())),
                "cpu: no such cgroup controller");
    ck_assert(!fs::exists(tree / own));
}
END_TEST

START_TEST(test_v1_group_with_processes_stays) {
    Tree tree(false);
    tree.layout.dying = nullptr; // files keep a plain directory, as processes keep a group
    auto driver = must(make_driver(tree.layout));
    must(driver->make_worker_group(v1_member, name, {4096, 0}, getuid()));
    error_of(driver->remove(v1_member, name));
    ck_assert(fs::exists(tree / own));
}
END_TEST

// Whoever can write below the root must not lead us elsewhere.
START_TEST(test_links_are_not_followed) {
    Tree tree(false);
    fs::create_directories(tree / "victim/task_0");
    fs::remove(tree / "memory/slurm_n1/uid_7/job_1/step_0/task_0");
    fs::create_directory_symlink(tree / "victim/task_0",
                                 tree / "memory/slurm_n1/uid_7/job_1/step_0/task_0");
    fs::create_directories(tree / "victim/cpu");
    fs::create_directory_symlink(tree / "victim/cpu", tree / "cpu/dtask");
    auto driver = must(make_driver(tree.layout));
    error_of(driver->make_worker_group(v1_member, name, {4096, 0}, getuid()));
    error_of(driver->make_worker_group(v1_member, name, {0, 100'000}, getuid()));
    ck_assert(fs::is_empty(tree / "victim/task_0"));
    ck_assert(fs::is_empty(tree / "victim/cpu"));

    Membership up{{4, {"memory"}, "/slurm_n1/../victim/task_0"}, {1, {"cpu"}, "/"}};
    error_of(driver->make_worker_group(up, name, {4096, 0}, getuid()));
    ck_assert(fs::is_empty(tree / "victim/task_0"));
}
END_TEST

START_TEST(test_a_linked_file_is_not_written) {
    Tree tree(false);
    put(tree / "victim", "keep");
    tree.layout.born = nullptr;
    tree.layout.dying = nullptr;
    auto driver = must(make_driver(tree.layout));
    // The child is removed and made again, so a link in it cannot survive.
    fs::create_directories(tree / own);
    fs::create_symlink(tree / "victim", tree / own + "/memory.limit_in_bytes");
    error_of(driver->make_worker_group(v1_member, name, {4096, 0}, getuid()));
    ck_text_eq(get(tree / "victim"), "keep");
}
END_TEST

START_TEST(test_a_plain_file_system_is_refused) {
    Tree tree(false);
    tree.layout.check_magic = true;
    auto driver = must(make_driver(tree.layout));
    error_of(driver->make_worker_group(v1_member, name, {4096, 0}, getuid()));
    ck_assert(!fs::exists(tree / own));
}
END_TEST

START_TEST(test_no_cgroups) {
    Layout layout;
    layout.mounts.push_back({"/", "/elsewhere/memory", false, {"memory"}});
    ck_contains(error_of(make_driver(layout)), "no cgroup mount below /sys/fs/cgroup");
}
END_TEST

START_TEST(test_mount_of_a_part) {
    Tree tree(false);
    tree.layout.mounts[0].root = "/docker/x";
    fs::create_directories(tree / "memory/job/task_3");
    auto driver = must(make_driver(tree.layout));
    Membership inside{{4, {"memory"}, "/docker/x/job/task_3"}};
    must(driver->make_worker_group(inside, name, {4096, 0}, getuid()));
    ck_assert(fs::exists(tree / "memory/job/task_3/dtask"));
    // Outside of what is mounted here there is no task of its own to be seen.
    Membership outside{{4, {"memory"}, "/docker/xy/job/task_3"}};
    must(driver->make_worker_group(outside, name, {4096, 0}, getuid()));
    ck_assert(fs::exists(tree / "memory/dtask/job_1/step_0/task_5"));
}
END_TEST

bool same_file(int a, int b) {
    struct stat one {
    }, other{};
    return ::fstat(a, &one) == 0 && ::fstat(b, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

START_TEST(test_v1_users_side) {
    Tree tree(false);
    auto driver = must(make_driver(tree.layout));
    ck_assert(!must(WorkerGroup::find(tree.layout, v1_member, name)));
    must(driver->make_worker_group(v1_member, name, {1 << 20, 200'000}, getuid()));
    auto group = must(WorkerGroup::find(tree.layout, v1_member, name));
    ck_assert(group.has_value());
    ck_assert_int_eq(group->version(), 1);
    ck_assert(group->needs_join() && group->has_memory() && group->has_cpu());
    ck_assert_int_ge(group->procs_fds().memory, 0);
    ck_assert_int_ge(group->procs_fds().cpu, 0);

    put(tree / own + "/memory.max_usage_in_bytes", "1048576\n");
    put(tree / own + "/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
    ck_assert_uint_eq(must(group->memory_limit()), 1 << 20);
    ck_assert_uint_eq(must(group->memory_peak()), 1 << 20);
    ck_assert_uint_eq(must(group->oom_kills()), 3);

    put(tree / own + "/memory.limit_in_bytes", "9223372036854771712\n");
    ck_assert_uint_eq(must(group->memory_limit()), 0);
    put(tree / own + "/memory.limit_in_bytes", "-1\n");
    error_of(group->memory_limit());
    put(tree / own + "/memory.oom_control", "oom_kill\n");
    error_of(group->oom_kills());
    // The executor, which is inside already, finds the same group.
    Membership inside{{4, {"memory"}, "/slurm_n1/uid_7/job_1/step_0/task_0/dtask"},
                      {1, {"cpu"}, "/dtask/job_1/step_0/task_5"}};
    auto again = must(WorkerGroup::find(tree.layout, inside, name));
    ck_assert(again.has_value());
    ck_assert(same_file(again->procs_fds().memory, group->procs_fds().memory));
    ck_assert(same_file(again->procs_fds().cpu, group->procs_fds().cpu));
}
END_TEST

START_TEST(test_v2) {
    V2Tree tree;
    auto driver = must(make_driver(tree.layout));
    ck_assert_int_eq(driver->version(), 2);
    ck_assert(!must(WorkerGroup::find(tree.layout, v2_member, name)));
    must(driver->make_worker_group(v2_member, name, {std::uint64_t{1} << 30, 150'000}, getuid()));
    ck_text_eq(get(tree.task + "/memory.high"), "1073741824");
    ck_text_eq(get(tree.task + "/memory.max"), "1207959552"); // an eighth more
    ck_text_eq(get(tree.task + "/memory.swap.max"), "0");
    ck_text_eq(get(tree.task + "/cpu.max"), "150000 100000");
    auto group = must(WorkerGroup::find(tree.layout, v2_member, name));
    ck_assert(group.has_value());
    ck_assert_int_eq(group->version(), 2);
    ck_assert(!group->needs_join());
    ck_assert_uint_eq(must(group->memory_limit()), std::uint64_t{1} << 30);
    put(tree.task + "/memory.events", "low 0\nhigh 9\nmax 0\noom 0\noom_kill 0\n");
    ck_assert_uint_eq(must(group->oom_kills()), 0);
    must(driver->remove(v2_member, name));
    ck_assert(fs::exists(tree.task)); // Slurm's own
}
END_TEST

// At a limit of Slurm's the kernel kills, and the step is out of memory: the worker stays below.
START_TEST(test_v2_leaves_room_below_limits_above) {
    V2Tree tree;
    auto driver = must(make_driver(tree.layout));
    auto high = [&](std::uint64_t memory, std::uint32_t tasks) {
        must(driver->make_worker_group(v2_member, name, {memory, 0, tasks}, getuid()));
        return std::stoull(get(tree.task + "/memory.high"));
    };
    auto user = fs::path(tree.task).parent_path();
    auto job = user.parent_path().parent_path();
    put(user / "memory.max", "max\n");
    ck_assert_uint_eq(high(400 * mib, 1), 400 * mib);
    put(job / "memory.max", std::to_string(400 * mib) + "\n");
    ck_assert_uint_eq(high(400 * mib, 1), 384 * mib);
    ck_assert_uint_eq(high(200 * mib, 2), 192 * mib);
    ck_assert_uint_eq(high(100 * mib, 2), 100 * mib); // has room
    ck_text_eq(get(tree.task + "/memory.max"), std::to_string(132 * mib).c_str());
    put(user / "memory.max", std::to_string(200 * mib) + "\n"); // the tightest counts
    ck_assert_uint_eq(high(400 * mib, 1), 184 * mib);
    put(user / "memory.max", std::to_string(6000 * mib) + "\n");
    put(job / "memory.max", "max\n");
    ck_assert_uint_eq(high(6000 * mib, 1), 5880 * mib); // a 50th of what is large
    put(user / "memory.max", "4096\n");
    ck_assert_uint_eq(high(6000 * mib, 9), 4096);
}
END_TEST

START_TEST(test_v2_shared_task_is_refused) {
    V2Tree tree;
    auto driver = must(make_driver(tree.layout));
    Membership shared{{0, {}, "/system.slice/x/job_1/step_0/user/task_special"}};
    ck_contains(error_of(driver->make_worker_group(shared, name, {4096, 0}, getuid())),
                "shares its cgroup");
    Membership nowhere{{4, {"memory"}, "/task_0"}};
    error_of(driver->make_worker_group(nowhere, name, {4096, 0}, getuid()));
}
END_TEST

START_TEST(test_v2_failure_is_undone) {
    V2Tree tree;
    fs::remove(tree.task + "/cpu.max"); // the controller is not there
    auto driver = must(make_driver(tree.layout));
    ck_contains(error_of(driver->make_worker_group(v2_member, name, {1 << 30, 1000}, getuid())),
                "cpu.max");
    ck_text_eq(get(tree.task + "/memory.high"), "max");
    ck_text_eq(get(tree.task + "/memory.max"), "max");
}
END_TEST

Suite *suite() {
    auto s = suite_create("cgroup");
    auto c = tcase_create("cgroup");
    for (auto test : {test_membership,
                      test_bad_membership,
                      test_mounts,
                      test_bad_mounts,
                      test_own_task_path,
                      test_v1_makes_and_removes,
                      test_v1_sweeps,
                      test_v1_groups_for_commands,
                      test_v1_no_groups_for_commands_that_would_not_be_bound,
                      test_v1_makes_only_what_is_limited,
                      test_v1_leaves_other_tasks_groups,
                      test_v1_shared_task_gets_a_tree_of_ours,
                      test_v1_seals_what_slurm_gave_to_the_user,
                      test_v1_failure_leaves_nothing,
                      test_v1_group_with_processes_stays,
                      test_links_are_not_followed,
                      test_a_linked_file_is_not_written,
                      test_a_plain_file_system_is_refused,
                      test_no_cgroups,
                      test_mount_of_a_part,
                      test_v1_users_side,
                      test_v2,
                      test_v2_leaves_room_below_limits_above,
                      test_v2_shared_task_is_refused,
                      test_v2_failure_is_undone})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

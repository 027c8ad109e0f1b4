// SPDX-License-Identifier: Apache-2.0
//
// The worker's group from the user's side: found by the same rules by which
// the drivers made it, then joined and read.
#include "lib/cgroup/cgroup.h"

#include <algorithm>

#include <fcntl.h>

#include "lib/base/strings.h"
#include "lib/cgroup/dir.h"
#include "lib/cgroup/drivers.h"

namespace dtask::cgroup {
namespace {

/// v1 writes "no limit" as the largest whole page count of a signed 64-bit number.
constexpr std::uint64_t v1_unlimited = std::uint64_t{1} << 62;

struct Found {
    Fd directory, procs;
};

/// The group in one v1 controller, if it is there.
Result<std::optional<Found>> find_v1(const Layout &layout, const Membership &self,
                                     const GroupName &name, std::string_view controller) {
    auto mount = find_mount(layout, controller);
    if (!mount) return std::nullopt;
    auto root = Dir::open_mount(layout, *mount);
    if (!root) return fail_from(std::move(root));

    std::vector<std::string> paths;
    if (auto path = path_in(self, *mount))
        if (auto own = own_task_path(*path)) paths.push_back(*own + "/dtask");
    paths.push_back("/dtask/job_" + std::to_string(name.job) + "/step_" +
                    std::to_string(name.step) + "/task_" + std::to_string(name.rank));
    for (const auto &path : paths) {
        auto dir = root->down(path);
        if (!dir) continue;
        auto procs = dir->open_for_writing("cgroup.procs");
        if (!procs) return fail_from(std::move(procs), path);
        return Found{std::move(*dir).release(), std::move(*procs)};
    }
    return std::nullopt;
}

Result<std::uint64_t> read_number(const Fd &dir, const char *name) {
    auto text = read_at(dir.get(), name);
    if (!text) return fail_from(std::move(text));
    if (*text == "max") return 0;
    auto number = parse_uint(*text);
    if (!number) return fail(std::string(name) + ": not a number");
    return *number;
}

Result<void> write_at(const Fd &dir, const char *name, std::string_view text) {
    Fd file(::openat(dir.get(), name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!file) return fail_errno(name);
    if (auto done = write_whole(file.get(), text); !done) return fail_from(std::move(done), name);
    return {};
}

/// The number after `key` in a file of "key number" lines.
Result<std::uint64_t> read_keyed(const Fd &dir, const char *name, std::string_view key) {
    auto text = read_at(dir.get(), name);
    if (!text) return fail_from(std::move(text));
    for (auto line : split(*text, '\n')) {
        auto blank = line.find(' ');
        if (blank == line.npos || line.substr(0, blank) != key) continue;
        if (auto number = parse_uint(line.substr(blank + 1))) return *number;
        break;
    }
    return fail(std::string(name) + ": no " + std::string(key));
}

} // namespace

Result<std::optional<WorkerGroup>> WorkerGroup::find(const GroupName &name,
                                                     const std::string &root) {
    auto layout = system_layout(root);
    if (!layout) return fail_from(std::move(layout));
    auto self = membership_of(0);
    if (!self) return fail_from(std::move(self));
    return find(*layout, *self, name);
}

Result<std::optional<WorkerGroup>> WorkerGroup::find(const Layout &layout, const Membership &self,
                                                     const GroupName &name) {
    WorkerGroup group;
    if (find_mount(layout, "memory")) {
        auto memory = find_v1(layout, self, name, "memory");
        if (!memory) return fail_from(std::move(memory));
        auto cpu = find_v1(layout, self, name, "cpu");
        if (!cpu) return fail_from(std::move(cpu));
        if (*memory) {
            group.memory_ = std::move((*memory)->directory);
            group.memory_procs_ = std::move((*memory)->procs);
        }
        if (*cpu) {
            group.cpu_ = std::move((*cpu)->directory);
            group.cpu_procs_ = std::move((*cpu)->procs);
        }
        if (!group.memory_ && !group.cpu_) return std::nullopt;
        return group;
    }

    auto mount = find_mount(layout, "");
    if (!mount) return std::nullopt;
    auto path = path_in(self, *mount);
    auto own = path ? own_task_path(*path) : std::nullopt;
    if (!own) return std::nullopt;
    auto root = Dir::open_mount(layout, *mount);
    if (!root) return fail_from(std::move(root));
    auto task = root->down(*own);
    if (!task) return fail_from(std::move(task));
    group.version_ = 2;
    auto limited = [&](const char *file) {
        auto text = task->read(file);
        return text && !text->starts_with("max");
    };
    if (limited("memory.high")) {
        auto dir = task->down("");
        if (!dir) return fail_from(std::move(dir));
        group.memory_ = std::move(*dir).release();
    }
    if (limited("cpu.max")) {
        auto dir = task->down("");
        if (!dir) return fail_from(std::move(dir));
        group.cpu_ = std::move(*dir).release();
    }
    if (!group.memory_ && !group.cpu_) return std::nullopt;
    return group;
}

Result<std::uint64_t> WorkerGroup::memory_limit() const {
    if (!memory_) return 0;
    auto limit = read_number(memory_, version_ == 2 ? "memory.high" : "memory.limit_in_bytes");
    if (limit && *limit >= v1_unlimited) return 0;
    return limit;
}

Result<std::uint64_t> WorkerGroup::memory_usage() const {
    if (!memory_) return fail("no memory limit");
    return read_number(memory_, version_ == 2 ? "memory.current" : "memory.usage_in_bytes");
}

Result<std::uint64_t> WorkerGroup::memory_needed() const {
    auto used = memory_usage();
    if (!used) return used;
    auto text = read_at(memory_.get(), "memory.stat");
    if (!text) return fail_from(std::move(text));
    std::uint64_t cached = 0;
    for (auto line : split(*text, '\n')) {
        auto blank = line.find(' ');
        if (blank == line.npos) continue;
        auto key = line.substr(0, blank);
        if (key == "active_file" || key == "inactive_file" || key == "slab_reclaimable")
            cached += parse_uint(line.substr(blank + 1)).value_or(0);
    }
    return *used - std::min(cached, *used);
}

Result<std::uint64_t> WorkerGroup::memory_shared() const {
    if (!memory_) return fail("no memory limit");
    return read_keyed(memory_, "memory.stat", "shmem");
}

Result<std::uint64_t> WorkerGroup::memory_peak() const {
    if (!memory_) return fail("no memory limit");
    return read_number(memory_, version_ == 2 ? "memory.peak" : v1_peak);
}

Result<void> WorkerGroup::reset_memory_peak() const {
    if (!memory_ || version_ != 1) return fail("no peak to set back");
    return write_at(memory_, v1_peak, "0");
}

Result<std::uint64_t> WorkerGroup::oom_kills() const {
    if (!memory_) return fail("no memory limit");
    return read_keyed(memory_, version_ == 2 ? "memory.events" : "memory.oom_control", "oom_kill");
}

std::vector<CommandGroup> WorkerGroup::open_command_groups() const {
    std::vector<CommandGroup> groups;
    if (!memory_ || version_ != 1) return groups;
    while (groups.size() < most_command_groups) {
        auto name = std::string(command_prefix) + std::to_string(groups.size());
        CommandGroup group;
        constexpr int directory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        group.directory_.reset(::openat(memory_.get(), name.c_str(), directory));
        if (!group.directory_) break;
        group.procs_.reset(
            ::openat(group.directory_.get(), "cgroup.procs", O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
        if (!group.procs_) break;
        groups.push_back(std::move(group));
    }
    return groups;
}

Result<void> CommandGroup::set_limit(std::uint64_t bytes) const {
    if (auto done = write_at(directory_, v1_peak, "0"); !done) return done;
    auto text = std::to_string(bytes);
    // The one with swap is never below the other: up it goes first, down it goes last.
    bool swap = ::faccessat(directory_.get(), v1_limit_with_swap, F_OK, 0) == 0;
    auto done = write_at(directory_, v1_limit, text);
    if (!done && swap && write_at(directory_, v1_limit_with_swap, text))
        done = write_at(directory_, v1_limit, text);
    if (done && swap) done = write_at(directory_, v1_limit_with_swap, text);
    return done;
}

Result<std::uint64_t> CommandGroup::peak() const { return read_number(directory_, v1_peak); }

Result<std::uint64_t> CommandGroup::oom_kills() const {
    return read_keyed(directory_, "memory.oom_control", "oom_kill");
}

Result<std::uint64_t> WorkerGroup::cpu_usage_us() const {
    if (version_ == 2) return read_keyed(cpu_ ? cpu_ : memory_, "cpu.stat", "usage_usec");
    if (!cpu_) return fail("no CPU limit");
    auto nanoseconds = read_number(cpu_, "cpuacct.usage");
    if (!nanoseconds) return nanoseconds;
    return *nanoseconds / 1'000;
}

} // namespace dtask::cgroup

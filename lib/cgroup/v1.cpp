// SPDX-License-Identifier: Apache-2.0
//
// Driver for cgroup v1: one group a controller, a child of the task's own
// group where Slurm made one there, else in a tree of our own.
#include "lib/cgroup/drivers.h"

#include <algorithm>
#include <array>
#include <string>

namespace dtask::cgroup {
namespace {

constexpr const char *group = "dtask"; // our child of task_N, and our tree's root
constexpr int races = 20;              // how often another step may remove what we are about to use

std::array<std::string, 4> tree_names(const GroupName &name) {
    return {group, "job_" + std::to_string(name.job), "step_" + std::to_string(name.step),
            "task_" + std::to_string(name.rank)};
}

struct Place {
    Dir parent;       ///< of the group
    std::string name; ///< of the group below it
};

class V1 final : public Driver {
public:
    explicit V1(Layout layout) : layout_(std::move(layout)) {}

    int version() const override { return 1; }

    Result<void> seal(const Membership &where, uid_t uid) override {
        auto located = locate(where, "memory");
        if (!located) return fail_from(std::move(located));
        auto &[dir, own] = *located;
        if (!own) return {};
        if (auto task = dir.down(*own, uid); !task) return fail_from(std::move(task), "memory");
        return {};
    }

    Result<void> make_worker_group(const Membership &where, const GroupName &name,
                                   const Limits &limits, uid_t uid) override {
        if (limits.memory > 0) {
            auto made = make(where, name, "memory", uid, [&](const Dir &dir) {
                auto done = set_memory(dir, limits.memory);
                if (done) (void)dir.give(v1_peak, uid); // to be set back: no limit depends on it
                // The worker does without them.
                if (done && !make_command_groups(dir, limits.commands, uid))
                    (void)remove_command_groups(dir);
                return done;
            });
            if (!made) return made;
        }
        if (limits.cpu_quota_us > 0) {
            auto made = make(where, name, "cpu", uid,
                             [&](const Dir &dir) { return set_cpu(dir, limits.cpu_quota_us); });
            if (!made) {
                (void)remove(where, name);
                return made;
            }
        }
        return {};
    }

    Result<void> remove(const Membership &where, const GroupName &name) override {
        // Both are tried, whatever the first says.
        auto memory = unmake(where, name, "memory");
        auto cpu = unmake(where, name, "cpu");
        return memory ? cpu : memory;
    }

    Result<void> sweep(std::uint32_t job, uid_t uid) override {
        Result<void> all;
        auto keep = [&](Result<void> done) {
            if (all) all = std::move(done);
        };
        for (const char *controller : {"memory", "cpu"}) {
            const auto *mount = find_mount(layout_, controller);
            if (!mount) continue;
            auto root = Dir::open_mount(layout_, *mount);
            if (!root) {
                keep(fail_from(std::move(root), controller));
                continue;
            }
            keep(sweep_tree(*root, job));
            keep(sweep_slurm(*root, job, uid));
        }
        return all;
    }

private:
    static Result<void> set_memory(const Dir &dir, std::uint64_t bytes) {
        auto text = std::to_string(bytes);
        if (auto done = dir.write(v1_limit, text); !done) return done;
        // Memory and swap together; there only where the kernel counts swap.
        if (dir.has(v1_limit_with_swap)) return dir.write(v1_limit_with_swap, text);
        return {};
    }

    /// The directories are root's, so that nobody makes more of them; of the files only
    /// those that set a limit or move a process are the user's.
    static Result<void> make_command_groups(const Dir &worker, std::uint32_t count, uid_t uid) {
        if (count == 0) return {};
        auto hierarchy = worker.read("memory.use_hierarchy");
        if (!hierarchy) return fail_from(std::move(hierarchy));
        if (*hierarchy != "1") return fail("the worker's limit would not bind what is below it");
        for (std::uint32_t n = 0; n < std::min(count, most_command_groups); n++) {
            auto dir = worker.make(std::string(command_prefix) + std::to_string(n));
            if (!dir) return fail_from(std::move(dir));
            for (const char *file : {"cgroup.procs", v1_limit, v1_peak})
                if (auto done = dir->give(file, uid); !done) return done;
            if (dir->has(v1_limit_with_swap))
                if (auto done = dir->give(v1_limit_with_swap, uid); !done) return done;
        }
        return {};
    }

    static Result<void> remove_command_groups(const Dir &worker) {
        auto names = worker.children();
        if (!names) return fail_from(std::move(names));
        for (const auto &name : *names)
            if (name.starts_with(command_prefix))
                if (auto done = worker.remove(name); !done) return fail_from(std::move(done));
        return {};
    }

    static Result<void> set_cpu(const Dir &dir, std::uint64_t quota_us) {
        if (auto done = dir.write("cpu.cfs_period_us", "100000"); !done) return done;
        return dir.write("cpu.cfs_quota_us", std::to_string(quota_us));
    }

    /// The controller's directory and the task's own group in it, if it has one.
    Result<std::pair<Dir, std::optional<std::string>>> locate(const Membership &where,
                                                              std::string_view controller) const {
        auto mount = find_mount(layout_, controller);
        if (!mount)
            return fail(std::string(controller) + ": no such cgroup controller below " +
                        layout_.root);
        auto dir = Dir::open_mount(layout_, *mount);
        if (!dir) return fail_from(std::move(dir), controller);
        auto path = path_in(where, *mount);
        std::optional<std::string> own;
        if (path) own = own_task_path(*path);
        return std::pair{std::move(*dir), std::move(own)};
    }

    /// The parent of the worker's group, made where it is ours.
    Result<Place> parent(const Membership &where, const GroupName &name,
                         std::string_view controller) const {
        auto located = locate(where, controller);
        if (!located) return fail_from(std::move(located));
        auto &[dir, own] = *located;
        if (own) {
            auto task = dir.down(*own);
            if (!task) return fail_from(std::move(task), controller);
            return Place{std::move(*task), group};
        }
        auto names = tree_names(name);
        for (std::size_t i = 0; i + 1 < names.size(); i++) {
            auto next = dir.make(names[i]);
            if (!next) return fail_from(std::move(next), controller);
            dir = std::move(*next);
        }
        return Place{std::move(dir), names.back()};
    }

    template <class Set>
    Result<void> make(const Membership &where, const GroupName &name, std::string_view controller,
                      uid_t uid, Set set) const {
        auto attempt = [&]() -> Result<Dir> {
            auto place = parent(where, name, controller);
            if (!place) return fail_from(std::move(place));
            // One that is there is of a step that died with its slurmstepd: start afresh.
            (void)vacate(place->parent, place->name, controller);
            auto dir = place->parent.make(place->name);
            if (!dir) return fail_from(std::move(dir), controller);
            return dir;
        };
        // In our own tree another task's end may remove a parent under our feet.
        auto dir = attempt();
        for (int i = 0; !dir && i < races; i++) dir = attempt();
        if (!dir) return fail_from(std::move(dir));

        auto done = set(*dir);
        if (done) done = dir->give("cgroup.procs", uid);
        if (done) return {};
        (void)unmake(where, name, controller);
        return fail_from(std::move(done), std::string(controller) + " cgroup");
    }

    Result<void> unmake(const Membership &where, const GroupName &name,
                        std::string_view controller) const {
        if (!find_mount(layout_, controller)) return {};
        auto located = locate(where, controller);
        if (!located) return fail_from(std::move(located));
        auto &[root, own] = *located;
        if (!own) return unmake_tree(root, name, controller);
        auto task = root.find(*own);
        if (!task) return fail_from(std::move(task), controller);
        if (!*task) return {}; // Slurm has removed it, and ours with it
        return vacate(**task, group, controller);
    }

    /// Removes a group that must have no processes any more.
    static Result<void> vacate(const Dir &parent, const std::string &name,
                               std::string_view controller) {
        auto dir = parent.find(name);
        if (!dir) return fail_from(std::move(dir), controller);
        if (*dir)
            if (auto done = remove_command_groups(**dir); !done)
                return fail_from(std::move(done), controller);
        auto done = parent.remove(name);
        if (!done) return fail_from(std::move(done), controller);
        if (!*done) return fail(std::string(controller) + ": " + name + ": has processes");
        return {};
    }

    /// Our own tree: the group, then whatever is empty above it.
    static Result<void> unmake_tree(const Dir &root, const GroupName &name,
                                    std::string_view controller) {
        auto names = tree_names(name);
        std::string path;
        for (std::size_t i = 0; i + 1 < names.size(); i++) path.append("/").append(names[i]);
        for (std::size_t depth = names.size(); depth > 0; depth--) {
            auto parent = root.find(path);
            if (!parent) return fail_from(std::move(parent), controller);
            if (*parent && depth == names.size()) {
                if (auto done = vacate(**parent, names.back(), controller); !done) return done;
            } else if (*parent) {
                auto done = (*parent)->remove(names[depth - 1]);
                if (!done) return fail_from(std::move(done), controller);
                if (!*done) return {}; // other tasks still use it
            }
            path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
        }
        return {};
    }

    /// What is left of the job in our own tree.
    static Result<void> sweep_tree(const Dir &root, std::uint32_t job) {
        auto ours = root.find(group);
        if (!ours) return fail_from(std::move(ours));
        if (!*ours) return {};
        auto name = "job_" + std::to_string(job);
        auto left = (*ours)->find(name);
        if (!left) return fail_from(std::move(left));
        if (*left) {
            if (auto done = clear(**left, 2); !done) return fail_from(std::move(done), name);
            if (auto done = vacate(**ours, name, group); !done) return done;
        }
        auto last = root.remove(group); // where no other job uses it
        if (!last) return fail_from(std::move(last));
        return {};
    }

    /// Removes all that is in `dir`, which is so many levels deep.
    static Result<void> clear(const Dir &dir, int levels) {
        auto names = dir.children();
        if (!names) return fail_from(std::move(names));
        for (const auto &name : *names) {
            auto next = dir.find(name);
            if (!next) return fail_from(std::move(next));
            if (*next && levels > 1)
                if (auto done = clear(**next, levels - 1); !done) return done;
            if (auto done = vacate(dir, name, group); !done) return done;
        }
        return {};
    }

    /// What is left of the job in its task groups. Slurm leaves those, too, when
    /// its slurmstepd dies; what else is in them is not ours to remove.
    static Result<void> sweep_slurm(const Dir &root, std::uint32_t job, uid_t uid) {
        auto tops = root.children();
        if (!tops) return fail_from(std::move(tops));
        auto below = "/uid_" + std::to_string(uid) + "/job_" + std::to_string(job);
        for (const auto &top : *tops) {
            if (top != "slurm" && !top.starts_with("slurm_")) continue; // slurm_NODE
            auto left = root.find(top + below);
            if (!left) return fail_from(std::move(left), top);
            if (!*left) continue;
            if (auto done = sweep_tasks(**left, 2); !done) return done;
        }
        return {};
    }

    /// Our child of each group two levels (step, task) below `dir`.
    static Result<void> sweep_tasks(const Dir &dir, int levels) {
        if (levels == 0) return vacate(dir, group, group);
        auto names = dir.children();
        if (!names) return fail_from(std::move(names));
        for (const auto &name : *names) {
            if (levels == 1 && !own_task_path("/" + name)) continue;
            auto next = dir.find(name);
            if (!next) return fail_from(std::move(next));
            if (!*next) continue;
            if (auto done = sweep_tasks(**next, levels - 1); !done) return done;
        }
        return {};
    }

    Layout layout_;
};

} // namespace

std::unique_ptr<Driver> make_v1(Layout layout) { return std::make_unique<V1>(std::move(layout)); }

} // namespace dtask::cgroup

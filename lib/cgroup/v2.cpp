// SPDX-License-Identifier: Apache-2.0
//
// Driver for cgroup v2: limits on the task's own group, no children.
//
// memory.high is the limit. Above it the kernel slows the task down and the
// launcher kills the executor; memory.max lies higher and is the last resort
// only, for a kill by the kernel would make Slurm call the whole step out of memory.
#include "lib/cgroup/drivers.h"

#include <algorithm>
#include <optional>
#include <string>

#include "lib/base/strings.h"

namespace dtask::cgroup {
namespace {

constexpr std::uint64_t least_slack = std::uint64_t{32} << 20;

std::uint64_t last_resort(std::uint64_t limit) {
    std::uint64_t sum = 0;
    auto slack = std::max(limit / 8, least_slack);
    return __builtin_add_overflow(limit, slack, &sum) ? limit : sum;
}

// For what the tasks may pass their limits by before the worker sees it, and for
// slurmstepd. Growth is slowed from memory.high on: by 2 % it comes to a crawl.
std::uint64_t reserve(std::uint64_t of) {
    constexpr std::uint64_t least = std::uint64_t{16} << 20, part = 50;
    return std::max(of / part, std::min(least, of / 4));
}

/// What one of `tasks` may have below a group that is limited to `of`, in whole pages.
std::uint64_t share_below(std::uint64_t of, std::uint32_t tasks) {
    constexpr std::uint64_t page = 4096;
    return std::max((of - reserve(of)) / std::max(tasks, 1u) / page, std::uint64_t{1}) * page;
}

class V2 final : public Driver {
public:
    explicit V2(Layout layout) : layout_(std::move(layout)) {}

    int version() const override { return 2; }

    Result<void> seal(const Membership &, uid_t) override {
        // Out of task_N a process moves only by the cgroup.procs of a group above, root's.
        return {};
    }

    Result<void> make_worker_group(const Membership &where, const GroupName &, const Limits &limits,
                                   uid_t) override {
        if (limits.memory == 0 && limits.cpu_quota_us == 0) return {};
        auto place = locate(where);
        if (!place) return fail_from(std::move(place));
        auto task = place->root.down(place->own);
        if (!task) return fail_from(std::move(task));
        auto cut = limits;
        if (auto above = limit_above(*place); above && limits.memory > 0)
            cut.memory = std::min(limits.memory, share_below(*above, limits.tasks));
        auto done = set(*task, cut);
        if (!done) (void)clear(*task);
        return done;
    }

    Result<void> remove(const Membership &where, const GroupName &) override {
        // The group is Slurm's to remove, and our limits go with it.
        (void)where;
        return {};
    }

    Result<void> sweep(std::uint32_t, uid_t) override { return {}; }

private:
    static Result<void> set(const Dir &task, const Limits &limits) {
        if (limits.memory > 0) {
            if (auto done = task.write("memory.max", std::to_string(last_resort(limits.memory)));
                !done)
                return done;
            if (auto done = task.write("memory.high", std::to_string(limits.memory)); !done)
                return done;
            // Swap would let the worker grow past its limit unseen.
            if (task.has("memory.swap.max"))
                if (auto done = task.write("memory.swap.max", "0"); !done) return done;
        }
        if (limits.cpu_quota_us > 0)
            return task.write("cpu.max", std::to_string(limits.cpu_quota_us) + " 100000");
        return {};
    }

    static Result<void> clear(const Dir &task) {
        auto reset = [&](const char *name, std::string_view text) {
            if (task.has(name)) (void)task.write(name, text);
        };
        reset("memory.high", "max");
        reset("memory.max", "max");
        reset("memory.swap.max", "max");
        reset("cpu.max", "max 100000");
        return {};
    }

    struct Place {
        Dir root;        ///< of the mount
        std::string own; ///< path of the task's own group below it
    };
    Result<Place> locate(const Membership &where) const {
        auto mount = find_mount(layout_, "");
        if (!mount) return fail("no cgroup2 mount below " + layout_.root);
        auto path = path_in(where, *mount);
        if (!path) return fail("the task is in no cgroup below " + mount->point);
        auto own = own_task_path(*path);
        if (!own) return fail("the task shares its cgroup with others: " + *path);
        auto root = Dir::open_mount(layout_, *mount);
        if (!root) return fail_from(std::move(root));
        return Place{std::move(*root), std::move(*own)};
    }

    /// The tightest memory.max of the groups above the task's own.
    static std::optional<std::uint64_t> limit_above(const Place &place) {
        std::optional<std::uint64_t> tightest;
        for (auto end = place.own.rfind('/'); end != 0 && end != place.own.npos;
             end = place.own.rfind('/', end - 1)) {
            auto dir = place.root.down(std::string_view(place.own).substr(0, end));
            auto text = dir ? dir->read("memory.max") : Result<std::string>(fail(""));
            auto bytes = text ? parse_uint(*text) : std::nullopt; // "max" is none
            if (bytes) tightest = std::min(tightest.value_or(*bytes), *bytes);
        }
        return tightest;
    }

    Layout layout_;
};

} // namespace

std::unique_ptr<Driver> make_v2(Layout layout) { return std::make_unique<V2>(std::move(layout)); }

Result<std::unique_ptr<Driver>> make_driver(Layout layout) {
    if (find_mount(layout, "memory")) return make_v1(std::move(layout));
    if (find_mount(layout, "")) return make_v2(std::move(layout));
    return fail("no cgroup mount below " + layout.root);
}

} // namespace dtask::cgroup

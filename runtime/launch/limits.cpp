// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/limits.h"

namespace dtask::launch {

namespace {

int cgroup_version(const std::string &root) {
    auto layout = cgroup::system_layout(root);
    if (!layout) return 0;
    auto driver = cgroup::make_driver(std::move(*layout));
    return driver ? (*driver)->version() : 0;
}

} // namespace

Result<std::optional<cgroup::WorkerGroup>> worker_group(const model::LaunchSpec &spec) {
    return cgroup::WorkerGroup::find({spec.job, spec.step, spec.rank}, spec.cgroup_root);
}

std::string without_group(const model::LaunchSpec &spec, const model::Role &role,
                          const std::optional<cgroup::WorkerGroup> &group) {
    std::string limits;
    if (spec.worker_memory > 0 && !(group && group->has_memory())) limits = "memory";
    // On v2 the group is the whole task's: a worker that shares it with scheduler or client
    // is watched anyway.
    bool shared = role.scheduler || role.client;
    if (!limits.empty() && shared && spec.job != 0 && cgroup_version(spec.cgroup_root) == 2)
        limits.clear();
    if (spec.worker_cpu_quota_us > 0 && !(group && group->has_cpu()))
        limits += limits.empty() ? "cpus" : ",cpus";
    return limits;
}

Result<void> check_limits(const model::LaunchSpec &spec, const model::Role &role) {
    const auto &options = spec.options;
    bool memory = options.memory.kind == model::MemoryOption::size;
    bool cpus = options.cpus == model::CpuMode::quota;
    if (spec.job == 0 || (!memory && !cpus)) return {};
    auto group = worker_group(spec);
    if (!group) return fail_from(std::move(group), "the worker's cgroup");
    auto limits = without_group(spec, role, *group);
    auto refuse = [&](const char *key) {
        auto option = model::find_key(key);
        return fail("--dtask-" + std::string(key) + "=" + model::value_of(options, *option) +
                    ": cannot be enforced on this node; accepted: auto or none");
    };
    if (memory && limits.starts_with("memory")) return refuse("memory");
    if (cpus && limits.ends_with("cpus")) return refuse("cpus");
    return {};
}

} // namespace dtask::launch

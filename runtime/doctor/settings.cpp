// SPDX-License-Identifier: Apache-2.0
#include "runtime/doctor/settings.h"

#include <algorithm>
#include <string_view>

#include "lib/base/strings.h"

namespace dtask::doctor {

namespace {

constexpr std::uint64_t short_kill_wait = 5; // seconds

/// slurm.conf's values by name; a name's and a word's case is nobody's business there.
class Settings {
public:
    explicit Settings(const Facts &facts) {
        for (const auto &[name, value] : facts.config) values_[lower(name)] = value;
    }
    /// Empty where it is not set.
    std::string value(std::string_view name) const {
        auto found = values_.find(lower(name));
        if (found == values_.end() || found->second == "(null)") return {};
        return found->second;
    }
    bool is(std::string_view name, std::string_view value_) const {
        return lower(value(name)) == lower(value_);
    }
    /// Whether one of the words between commas is it.
    bool has(std::string_view name, std::string_view word) const {
        auto text = lower(value(name));
        return std::ranges::any_of(split(text, ','),
                                   [&](auto part) { return trim(part) == lower(word); });
    }

private:
    std::map<std::string, std::string> values_;
};

/// The first number of "30 sec".
std::optional<std::uint64_t> seconds(const std::string &value) {
    auto end = value.find(' ');
    return parse_uint(value.substr(0, end));
}

} // namespace

void judge_settings(const Facts &facts, std::vector<Finding> &out) {
    if (facts.config.empty()) return;
    Settings conf(facts);
    bool all_good = true;
    auto add = [&](Verdict verdict, std::string text, std::string mend) {
        all_good = all_good && verdict < Verdict::warning;
        out.push_back({verdict, "slurm.conf", std::move(text), std::move(mend)});
    };
    auto task_plugin = conf.value("TaskPlugin"), proctrack = conf.value("ProctrackType");
    bool tasks = conf.has("TaskPlugin", "task/cgroup") || conf.has("TaskPlugin", "cgroup");
    bool tracked = conf.is("ProctrackType", "proctrack/cgroup");
    if (!tasks)
        add(Verdict::warning,
            "TaskPlugin=" + task_plugin +
                ": tasks have no cgroups of Slurm's; on cgroup v2 limits are only watched then, "
                "and "
                "on v1 workers have groups beside Slurm's",
            "TaskPlugin=task/affinity,task/cgroup in slurm.conf");
    if (!tracked)
        add(Verdict::warning,
            "ProctrackType=" + proctrack + ": processes that leave their session outlive the step",
            "ProctrackType=proctrack/cgroup in slurm.conf");
    if (tasks && conf.is("ConstrainRAMSpace", "no"))
        add(Verdict::warning,
            "ConstrainRAMSpace=no: scheduler and client of a step have no memory limit; its "
            "workers have theirs",
            "ConstrainRAMSpace=yes in cgroup.conf");
    if (tasks && conf.is("ConstrainSwapSpace", "no") && facts.swap)
        add(Verdict::note, "ConstrainSwapSpace=no, and this host swaps",
            "ConstrainSwapSpace=yes in cgroup.conf");
    auto plugin = conf.value("CgroupPlugin");
    if (facts.cgroup_version > 0 && plugin.starts_with("cgroup/v") &&
        plugin != "cgroup/v" + std::to_string(facts.cgroup_version))
        add(Verdict::error,
            "CgroupPlugin=" + plugin + ", and this host has cgroup v" +
                std::to_string(facts.cgroup_version),
            "CgroupPlugin=autodetect in cgroup.conf");
    auto parameters = lower(conf.value("SelectTypeParameters"));
    if (parameters.find("memory") == std::string::npos)
        add(Verdict::warning,
            "SelectTypeParameters=" + conf.value("SelectTypeParameters") +
                ": Slurm gives jobs no memory of their own, and a worker's share of it is a part "
                "of "
                "the whole node's",
            "SelectTypeParameters=CR_Core_Memory or CR_CPU_Memory in slurm.conf");
    else if (conf.is("DefMemPerCPU", "UNLIMITED") || conf.is("DefMemPerNode", "UNLIMITED"))
        add(Verdict::note,
            "no DefMemPerCPU but what partitions say: without one a job that asks for no memory "
            "gets that of the whole node",
            "DefMemPerCPU= in slurm.conf, or users say --mem-per-cpu");
    if (conf.has("JobAcctGatherParams", "OverMemoryKill"))
        add(Verdict::error,
            "JobAcctGatherParams=OverMemoryKill: Slurm kills the whole step for one worker, before "
            "that worker's own limit can end its task",
            "take OverMemoryKill away: cgroups hold the limits");
    if (auto wait = seconds(conf.value("KillWait")); wait && *wait < short_kill_wait)
        add(Verdict::warning,
            "KillWait=" + std::to_string(*wait) +
                ": clients that are ended have less than 5 s to save their work",
            "KillWait=30 in slurm.conf, which is the default");
    if (conf.is("TaskPluginParam", "Sockets") || conf.has("TaskPluginParam", "autobind=threads"))
        add(Verdict::note,
            "TaskPluginParam=" + conf.value("TaskPluginParam") +
                " binds every step; workers keep to that binding",
            "");
    if (all_good) add(Verdict::good, "nothing there is in the way of workers' limits", "");
}

} // namespace dtask::doctor

// SPDX-License-Identifier: Apache-2.0
#include "runtime/doctor/rules.h"

#include <algorithm>

#include <sys/stat.h>

#include "lib/base/strings.h"
#include "lib/model/ports.h"
#include "runtime/doctor/plugstack.h"
#include "runtime/doctor/settings.h"

namespace dtask::doctor {

namespace {

constexpr unsigned few_ports = 64;
constexpr std::uint64_t little_scratch = 1ull << 30;
constexpr std::uint64_t few_descriptors = 4096;
constexpr unsigned oldest_python = 8; // 3.8

/// Findings of one subject.
class Chapter {
public:
    Chapter(std::vector<Finding> &findings, std::string subject)
        : findings_(findings), subject_(std::move(subject)) {}

    void good(std::string text) { add(Verdict::good, std::move(text), ""); }
    void note(std::string text, std::string mend = "") {
        add(Verdict::note, std::move(text), std::move(mend));
    }
    void warning(std::string text, std::string mend) {
        add(Verdict::warning, std::move(text), std::move(mend));
    }
    void error(std::string text, std::string mend) {
        add(Verdict::error, std::move(text), std::move(mend));
    }

private:
    void add(Verdict verdict, std::string text, std::string mend) {
        findings_.push_back({verdict, subject_, std::move(text), std::move(mend)});
    }
    std::vector<Finding> &findings_;
    std::string subject_;
};

std::string major_minor(std::string_view version) {
    auto parts = split(version, '.');
    return parts.size() < 2 ? std::string(version)
                            : std::string(parts[0]).append(".").append(parts[1]);
}

void judge_slurm(const Facts &facts, std::vector<Finding> &out) {
    Chapter slurm(out, "slurm");
    if (facts.slurm.empty())
        return slurm.error("scontrol --version fails: " + facts.no_slurm,
                           "run this on a login node or a node of the cluster, with Slurm's bin "
                           "directory in PATH and its slurm.conf");
    if (!facts.no_config.empty())
        return slurm.error("scontrol show config fails: " + facts.no_config,
                           "start slurmctld, or mend SLURM_CONF and the network to it");
    slurm.good("Slurm " + facts.slurm + ", slurmctld answers");
}

void judge_plugstack(const Facts &facts, std::vector<Finding> &out) {
    Chapter plugstack(out, "plugstack");
    const auto &stack = facts.plugstack;
    std::string line = "optional " DTASK_LIBDIR "/dtask.so launcher=" DTASK_LIBEXECDIR "/dtaskd";
    if (stack.path.empty()) return; // nobody knows where it is: Slurm was not found
    if (!stack.unreadable.empty())
        return plugstack.error(stack.path + ": " + stack.unreadable,
                               "make it, readable for all, with the line: " + line);
    for (const auto &pattern : stack.included)
        plugstack.note(stack.path + " includes " + pattern + ", which matches no file");
    if (stack.lines.empty())
        return plugstack.error(stack.path + " does not load dtask",
                               "add to it, on every host: " + line);
    const auto &first = stack.lines.front();
    std::string where = first.file + ":" + std::to_string(first.line);
    if (stack.lines.size() > 1)
        plugstack.error(where + " loads dtask, and " + stack.lines[1].file + ":" +
                            std::to_string(stack.lines[1].line) + " does so again",
                        "keep one of them: each step would have two clusters' worth of plugins");
    auto site = site_of(first);
    if (!site)
        plugstack.error(where + ": " + site.error().text(),
                        "correct that word: until then each srun --dtask is refused");
    else
        plugstack.good(where + " loads dtask, " + (first.required ? "required" : "optional"));
}

/// Whether somebody who is not root could replace what root runs.
void judge_ownership(Chapter &chapter, const FileFact &file) {
    if (file.owner != 0)
        chapter.error(file.path + " belongs to user " + std::to_string(file.owner) +
                          ", and root runs it",
                      "chown root " + file.path);
    if (file.mode & (S_IWGRP | S_IWOTH))
        chapter.error(file.path + " can be written by others than its owner",
                      "chmod go-w " + file.path);
    if (!file.loose_directory.empty())
        chapter.error(
            file.path + " can be replaced: others than root may write to " + file.loose_directory,
            "chown root " + file.loose_directory + " && chmod go-w " + file.loose_directory);
}

void judge_plugin(const Facts &facts, std::vector<Finding> &out) {
    Chapter plugin(out, "plugin");
    if (!facts.plugin) return;
    const auto &file = *facts.plugin;
    if (!file.missing.empty())
        return plugin.error(file.path + ": " + file.missing,
                            "install dtask on this host, or correct the path in plugstack.conf");
    judge_ownership(plugin, file);
    if (!facts.plugin_broken.empty())
        return plugin.error(file.path + " cannot be loaded: " + facts.plugin_broken,
                            "build it again, against this system's Slurm");
    if (!facts.plugin_slurm.empty() && !facts.slurm.empty() &&
        facts.plugin_slurm != major_minor(facts.slurm))
        return plugin.error(file.path + " was built for Slurm " + facts.plugin_slurm +
                                ", and this is " + facts.slurm,
                            "build it with the headers of Slurm " + major_minor(facts.slurm) +
                                ": ./configure --with-slurm=PREFIX");
    if (!facts.no_srun.empty())
        plugin.warning("srun --help fails: " + facts.no_srun, "mend what it says");
    else if (!facts.srun_help.empty() && facts.srun_help.find("--dtask") == std::string::npos)
        plugin.error("srun does not know --dtask: the plugin is not loaded",
                     "look for spank in `srun -vv true`, which says why");
    else
        plugin.good(file.path +
                    (facts.plugin_slurm.empty() ? "" : ", for Slurm " + facts.plugin_slurm) +
                    (facts.srun_help.empty() ? "" : ", and srun knows --dtask"));
}

void judge_launcher(const Facts &facts, std::vector<Finding> &out) {
    Chapter launcher(out, "launcher");
    if (!facts.launcher) return;
    const auto &file = *facts.launcher;
    if (!file.missing.empty())
        return launcher.error(file.path + ": " + file.missing,
                              "install dtask on this host, or set launcher= in plugstack.conf");
    // It runs as the user, but in front of every user's tasks.
    judge_ownership(launcher, file);
    if (!(file.mode & S_IXOTH))
        return launcher.error(file.path + " cannot be executed by all users",
                              "chmod a+rx " + file.path);
    if (facts.launcher_version != facts.version)
        return launcher.error(
            file.path + " is dtask " +
                (facts.launcher_version.empty() ? "of no known version" : facts.launcher_version) +
                ", and this command is " + facts.version,
            "install the same version of all parts on every host");
    launcher.good(file.path + ", dtask " + facts.launcher_version);
}

void judge_cgroup(const Facts &facts, std::vector<Finding> &out) {
    Chapter cgroup(out, "cgroup");
    const std::string watched = "limits are watched by each worker instead of held by the kernel";
    if (facts.cgroup_version == 0)
        return cgroup.warning("no cgroups: " + facts.no_cgroup + "; " + watched,
                              "mount cgroups at /sys/fs/cgroup");
    auto has = [&](std::string_view name) {
        return std::ranges::find(facts.controllers, name) != facts.controllers.end();
    };
    std::string version = "cgroup v" + std::to_string(facts.cgroup_version);
    if (!has("memory"))
        cgroup.warning(version + " without the memory controller; " + watched,
                       facts.cgroup_version == 1 ? "boot with cgroup_enable=memory"
                                                 : "echo +memory > /sys/fs/cgroup/"
                                                   "cgroup.subtree_control");
    if (!has("cpu"))
        cgroup.warning(version + " without the cpu controller: --dtask-cpus=quota is not held",
                       facts.cgroup_version == 1
                           ? "mount the cpu controller"
                           : "echo +cpu > /sys/fs/cgroup/cgroup.subtree_control");
    if (facts.cgroup_version == 1 && !facts.hierarchy)
        cgroup.warning("memory.use_hierarchy is 0: a worker's limit is not bound by its step's",
                       "echo 1 > /sys/fs/cgroup/memory/memory.use_hierarchy at boot");
    if (facts.swap && !facts.swap_limited)
        cgroup.warning("this host swaps, and swap is not counted: a worker may use its limit in "
                       "memory and as much again in swap",
                       "boot with swapaccount=1, or turn swap off");
    if (has("memory") && has("cpu")) cgroup.good(version + " with memory and cpu");
}

void judge_munge(const Facts &facts, std::vector<Finding> &out) {
    Chapter munge(out, "munge");
    if (facts.munge_failure.empty())
        munge.good("a credential was made and read");
    else
        munge.error(facts.munge_failure, "start munged, with the cluster's key");
}

void judge_network(const Facts &facts, std::vector<Finding> &out) {
    Chapter network(out, "network");
    model::Site site; // what it is where nothing is said
    if (!facts.plugstack.lines.empty())
        if (auto said = site_of(facts.plugstack.lines.front())) site = std::move(*said);
    bool other_than_loopback = std::ranges::any_of(facts.interfaces, [](const auto &interface) {
        return interface.up && !interface.loopback && !interface.addresses.empty();
    });
    if (!other_than_loopback)
        network.warning("no interface but loopback is up and has an address",
                        "a cluster over several nodes needs one");
    for (const auto &name : {site.options.scheduler_interface, site.options.worker_interface}) {
        if (name.empty()) continue;
        auto found = std::ranges::find(facts.interfaces, name, &Interface::name);
        if (found == facts.interfaces.end())
            network.error("plugstack.conf says interface " + name + ", which this host has not",
                          "correct interface= in plugstack.conf, or leave it out");
        else if (!found->up || found->addresses.empty())
            network.error("interface " + name + (found->up ? " has no address" : " is down"),
                          "bring it up, or correct interface= in plugstack.conf");
        else
            network.good("interface " + name + ", " + found->addresses.front());
        if (name == site.options.worker_interface) break;
    }
    unsigned first = site.first_port ? site.first_port : model::default_first_port;
    unsigned last = site.last_port ? site.last_port : model::default_last_port;
    std::string range = std::to_string(first) + "-" + std::to_string(last);
    unsigned count = last - first + 1;
    if (facts.busy_ports >= count)
        network.error("all ports of " + range + " are taken here", "set ports= to a free range");
    else if (count < few_ports)
        network.warning("ports=" + range + " are " + std::to_string(count) +
                            ": as many clusters at a time on a host, and fewer where they collide",
                        "set ports= to a wider range");
    if (facts.first_ephemeral && first <= facts.last_ephemeral && last >= facts.first_ephemeral)
        network.note("ports " + range + " and the kernel's own for outgoing connections, " +
                         std::to_string(facts.first_ephemeral) + "-" +
                         std::to_string(facts.last_ephemeral) +
                         ", overlap: some will be taken, and the next is tried",
                     "set ports= below them, or net.ipv4.ip_local_reserved_ports");
    else
        network.good("ports " + range);
}

void judge_directories(const Facts &facts, std::vector<Finding> &out) {
    Chapter scratch(out, "scratch");
    const auto &disk = facts.scratch;
    if (!disk.unusable.empty())
        scratch.error(disk.path + ": " + disk.unusable,
                      "mend it, or set scratch= in plugstack.conf to a directory of this node that "
                      "all users can write to");
    else if (!disk.filesystem.empty() && disk.filesystem != "tmpfs")
        scratch.warning(disk.path + " is on " + disk.filesystem +
                            ": workers of all nodes would spill over the network",
                        "set scratch= in plugstack.conf to a disk of the node");
    else if (disk.filesystem == "tmpfs")
        scratch.note(disk.path + " is in memory: what workers spill there counts as theirs",
                     "set scratch= in plugstack.conf to a disk of the node");
    else if (disk.free < little_scratch)
        scratch.warning(disk.path + " has " + format_size(disk.free) + " free",
                        "make room, or set scratch= in plugstack.conf");
    else
        scratch.good(disk.path + ", " + format_size(disk.free) + " free");
    const auto &shm = facts.shared_memory;
    if (!shm.unusable.empty())
        scratch.warning(shm.path + ": " + shm.unusable +
                            "; large values go to disk, and are copied between processes",
                        "mount a tmpfs there that all users can write to");
}

void judge_python(const Facts &facts, std::vector<Finding> &out) {
    Chapter python(out, "python");
    const auto &found = facts.python;
    if (!found.failure.empty())
        return python.warning(found.failure + "; commands need none, functions do",
                              "load a module or activate an environment with Python 3.8 or newer");
    std::string version = std::to_string(found.major) + "." + std::to_string(found.minor);
    if (found.major != 3 || found.minor < oldest_python)
        return python.error(found.path + " is Python " + version,
                            "load a module or activate an environment with Python 3.8 or newer");
    if (!found.dtask.empty() && found.dtask != facts.version)
        python.error(found.path + " imports dtask " + found.dtask + ", and this command is " +
                         facts.version,
                     "install the same version, or remove that one: srun --dtask brings its own");
    if (found.cloudpickle.empty())
        python.warning(found.path + " has no cloudpickle: lambdas and functions of a script's "
                                    "main module cannot be sent by value",
                       found.path + " -m pip install cloudpickle, or Debian's "
                                    "python3-cloudpickle");
    if (found.distributed.empty())
        python.note(found.path + " has no dask.distributed: --dtask=dask needs it");
    python.good(found.path + ", Python " + version);
}

void judge_limits(const Facts &facts, std::vector<Finding> &out) {
    Chapter limits(out, "limits");
    if (facts.descriptors > 0 && facts.descriptors < few_descriptors)
        limits.warning("at most " + std::to_string(facts.descriptors) +
                           " descriptors: a scheduler can have so many workers and clients",
                       "raise the hard limit of nofile, for users and in slurmd's unit");
}

} // namespace

std::string_view name_of(Verdict verdict) {
    switch (verdict) {
    case Verdict::good: return "ok";
    case Verdict::note: return "note";
    case Verdict::warning: return "warning";
    case Verdict::error: return "error";
    }
    return "";
}

std::vector<Finding> judge(const Facts &facts) {
    std::vector<Finding> findings;
    judge_slurm(facts, findings);
    judge_plugstack(facts, findings);
    judge_plugin(facts, findings);
    judge_launcher(facts, findings);
    judge_settings(facts, findings);
    judge_cgroup(facts, findings);
    judge_munge(facts, findings);
    judge_network(facts, findings);
    judge_directories(facts, findings);
    judge_limits(facts, findings);
    judge_python(facts, findings);
    return findings;
}

} // namespace dtask::doctor

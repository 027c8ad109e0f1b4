// SPDX-License-Identifier: Apache-2.0
//
// Facts: what a host is like, as far as dtask depends on it, as one value. It is gathered
// once (gather.h) and judged by rules that look at nothing else (rules.h), so that a test
// can describe any host. What could not be found out says why.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "lib/base/result.h"

namespace dtask::doctor {

/// A file or directory that is to be there. Paths lead to what symbolic links name.
struct FileFact {
    std::string path;
    std::string missing; ///< why it cannot be seen; empty: it is there
    uid_t owner = 0;
    mode_t mode = 0;
    /// A directory above it that others than root may write to; empty: none.
    std::string loose_directory;
};

/// One line of plugstack.conf that loads dtask.
struct PluginLine {
    std::string file;
    unsigned line = 0;
    bool required = false;
    std::string plugin;             ///< as written
    std::vector<std::string> words; ///< behind it
};

struct Plugstack {
    std::string path;
    std::string unreadable;            ///< why; empty: it was read
    std::vector<PluginLine> lines;     ///< in the order in which Slurm takes them
    std::vector<std::string> included; ///< patterns that match no file
};

struct Interface {
    std::string name;
    bool up = false, loopback = false;
    std::vector<std::string> addresses; ///< IPv4 and IPv6
};

struct Directory {
    std::string path;
    std::string unusable;             ///< why nothing can be written there; empty: it can
    std::uint64_t free = 0, size = 0; ///< bytes
    std::string filesystem; ///< "tmpfs", "nfs", "lustre", …; empty: a local disk, or unknown
};

struct Python {
    std::string path;
    std::string failure; ///< why nothing is known of it
    unsigned major = 0, minor = 0;
    std::string dtask;       ///< version of the package, or empty
    std::string cloudpickle; ///< the same
    std::string distributed; ///< the same
};

struct Facts {
    std::string version; ///< dtask's own
    std::string host;
    bool root = false;

    // Slurm
    std::string slurm;                         ///< "22.05.8"; empty: no commands, because
    std::string no_slurm;                      ///< of this
    std::string no_config;                     ///< why `config` is empty
    std::map<std::string, std::string> config; ///< of scontrol show config, cgroup.conf's keys too
    std::string no_srun;                       ///< why `srun_help` is empty
    std::string srun_help;

    // Installation
    Plugstack plugstack;
    std::optional<FileFact> plugin;
    std::string plugin_slurm;  ///< the Slurm that it was built for, "22.05"; empty: not known
    std::string plugin_broken; ///< why it cannot be loaded; empty: it can
    std::optional<FileFact> launcher;
    std::string launcher_version; ///< what it says of itself

    // Node
    int cgroup_version = 0;               ///< 0: none that can be used
    std::string no_cgroup;                ///< why
    std::vector<std::string> controllers; ///< mounted, or enabled at the root
    bool hierarchy = true;                ///< v1: memory.use_hierarchy, or nothing said
    bool swap = false;                    ///< this host has some,
    bool swap_limited = true;             ///< and a worker's limit counts it
    std::string munge_failure;            ///< empty: a credential was made and read
    std::vector<Interface> interfaces;
    std::uint16_t first_ephemeral = 0, last_ephemeral = 0; ///< the kernel's own ports; 0: unknown
    unsigned busy_ports = 0;                               ///< of those that dtask may take
    Directory scratch, shared_memory;
    std::uint64_t descriptors = 0; ///< hard limit
    Python python;
};

} // namespace dtask::doctor

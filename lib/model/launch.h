// SPDX-License-Identifier: Apache-2.0
//
// LaunchSpec: everything a task's launcher is told, and its text form, the
// value of the variable DTASK_LAUNCH. The plugin writes it in the task's
// environment; `dtask run` writes the same without Slurm. The launcher removes
// it from the environment of whatever it starts, for it holds the token.
//
// Invariants of a spec that was read: rank < ntasks, the token is 64
// lower-case hexadecimal digits, node names are plain words, ports are in
// order. No error text holds a value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/model/options.h"

namespace dtask::model {

constexpr std::string_view launch_variable = "DTASK_LAUNCH";
constexpr std::size_t token_digits = 64;

struct LaunchSpec {
    Options options; ///< the engine is here
    std::string token;

    std::uint32_t job = 0;
    std::uint32_t step = 0;
    std::uint32_t rank = 0;
    std::uint32_t ntasks = 0;
    std::uint32_t local_rank = 0;
    std::uint32_t local_ntasks = 0; ///< tasks on this node
    std::uint32_t cpus_per_task = 1;

    std::string node;           ///< name of this node
    std::string scheduler_node; ///< name of the step's first node
    std::string scheduler_host; ///< its address; empty: resolve the name
    std::string nodelist;       ///< the step's node list as Slurm writes it; may be empty

    /// Ports for scheduler and workers; both 0: not limited by the administrator.
    std::uint16_t first_port = 0;
    std::uint16_t last_port = 0;

    std::uint64_t worker_memory = 0;       ///< bytes; 0: none, or no worker here
    std::uint64_t worker_cpu_quota_us = 0; ///< per 100 ms; 0: none
    std::uint32_t worker_cpus = 0;         ///< 0: no worker here

    std::string cgroup_root = "/sys/fs/cgroup"; ///< where the node's cgroups are mounted
    std::string submit_dir;
    std::string
        argv0; ///< the user's command where argv[0] was replaced; empty where argv was prepended

    bool operator==(const LaunchSpec &) const = default;
};

/// Whether `token` is 64 lower-case hexadecimal digits.
bool is_token(std::string_view token);

std::string to_text(const LaunchSpec &spec);
Result<LaunchSpec> launch_from_text(std::string_view text);

} // namespace dtask::model

// SPDX-License-Identifier: Apache-2.0
//
// A stand-in for the part of Slurm that the plugin calls: the C functions of
// spank.h and the two calls to slurmctld, answered from one value. A test sets
// `fake::slurm` before it calls the plugin's classes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "spank/api.h"

namespace dtask::fake {

/// A vector of C strings, as Slurm keeps argv and the environment. The plugin
/// may put a string of its own, from strdup, in place of another.
class Block {
public:
    Block() = default;
    Block(Block &&) = default;
    Block &operator=(Block &&other) noexcept;
    ~Block();
    void fill(const std::vector<std::string> &words);
    char **data() { return words_.data(); }
    std::vector<std::string> words() const;

private:
    void clear();
    std::vector<char *> words_;
    std::vector<char *> made_; ///< what words_ held at first
};

struct Slurm {
    spank_context_t context = S_CTX_REMOTE;
    // items; those of tasks are refused where has_task is false
    uid_t uid = 1000;
    std::uint32_t job = 7, step = 0, ntasks = 4, rank = 1, local_tasks = 2, cpus_per_task = 4;
    int local_rank = 1;
    std::uint64_t step_mb = 1600;
    pid_t task_pid = 0;
    bool has_task = true;
    std::vector<std::string> argv{"python3", "x.py"};
    std::map<std::string, std::string> env; ///< the job's

    // slurmctld
    std::string step_nodes;   ///< empty: the layout is not known
    std::string node_address; ///< empty: the node is not known

    // what the plugin did
    std::vector<std::string> registered, errors;
    std::vector<spank_option> options; ///< those that are registered

    /// Any value: the handle that the hooks get.
    spank_t handle();
    /// argv as the plugin left it.
    std::vector<std::string> argv_now() const { return argv_block.words(); }

    Block argv_block, env_block;
};

extern Slurm slurm;

} // namespace dtask::fake

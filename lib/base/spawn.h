// SPDX-License-Identifier: Apache-2.0
//
// Spawn: starts a process. posix_spawn cannot set what we need between fork
// and exec (death signal, cgroup, OOM score), so this forks; the child makes
// async-signal-safe calls only. A failure in the child, exec's included, comes
// back as the error of spawn(): no half-started process is left.
#pragma once

#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include <sched.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "lib/base/env.h"
#include "lib/base/result.h"

namespace dtask {

/// oom_score_adj of what runs functions: where memory runs out in any group that holds it, one
/// of these is the kernel's choice as long as there is one, however large the others are.
constexpr int first_to_die = 1000;

struct SpawnSpec {
    std::string program;           ///< a path, as from find_program()
    std::vector<std::string> argv; ///< with argv[0]
    Env env;
    bool null_stdin = false;
    bool new_group = false;     ///< make it the leader of a process group
    int death_signal = SIGKILL; ///< sent when the thread that spawned it ends; 0: none
    int pass_fd = -1;           ///< becomes descriptor 3
    std::vector<int> join_fds;  ///< cgroup.procs files to write "0" to
    int oom_score_adj = 0;      ///< 0: as inherited
    std::optional<cpu_set_t> cpus;
    bool many_descriptors = false; ///< keeps what raise_descriptor_limit() has raised
};

/// Raises this process' soft limit of descriptors to the hard one: a login shell's is soon
/// reached. What it spawns gets the one that it had, for programs that call select().
void raise_descriptor_limit();

/// The one that it had; null where it was not raised.
const rlimit *inherited_descriptor_limit();

Result<pid_t> spawn(const SpawnSpec &spec);

/// The texts as execve wants them, a null behind; they point into `texts`.
std::vector<char *> pointers(std::vector<std::string> &texts);

/// Where `name` is: itself if it has a slash, else by `path` (the value of
/// PATH; empty: /usr/local/bin:/usr/bin:/bin).
Result<std::string> find_program(const std::string &name, std::string_view path);

/// "exit code 3" or "signal 9 (Killed)", for a status of waitpid.
std::string describe_status(int status);

/// What a shell would report: the exit code, or 128 + the signal.
int shell_code(int status);

} // namespace dtask

// SPDX-License-Identifier: Apache-2.0
//
// Commands: the programs that a worker runs as tasks, without an interpreter: several
// at a time, as its CPUs allow. Each leads a process group of its own, which is killed
// when it has ended: nothing of a task outlives it.
//
//   start ──▶ running ──reaped──▶ settle ──▶ on_ended
//      └──it cannot be executed──▶ on_ended, with 126 or 127 and why, as a shell says it
//
// Between the last two the next one begins: its CPU is idle, and to read what the last one has
// written can wait. For the same reason the files for it are made beforehand.
//
// What it writes goes to files of the kernel's memory, which are read when it has ended,
// or to the files that it names: no byte of it passes through the event loop meanwhile.
//
// Of one whose lines are streamed they are told each stream_ms while it runs, and its outcome has
// what is left; the files' memory goes with them, but for the end, which output_of shows.
//
// A command with a memory limit of its own runs in a cgroup of its own below the worker's,
// where root has made some: the slot's, one command after the other. The kernel kills in it, and
// the command has failed then, whichever of its processes died. Elsewhere it is looked at with
// all that it has started (processes.h), and killed when the limit is passed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <sys/types.h>

#include "lib/base/env.h"
#include "lib/base/fd.h"
#include "lib/cgroup/cgroup.h"
#include "lib/ev/loop.h"
#include "lib/model/command.h"
#include "runtime/worker/executor.h"
#include "runtime/worker/spawner.h"

namespace dtask::worker {

class Commands {
public:
    struct Place {
        Env env;                   ///< of each, but for what a command changes
        std::string host;          ///< as the outcome says it
        std::uint64_t cpus = 1;    ///< of the worker
        std::uint64_t threads = 1; ///< that OMP_NUM_THREADS says, unless the user has set it
        std::uint64_t first_slot = 1;
        std::vector<int> join_fds;                     ///< cgroup.procs files
        std::vector<cgroup::CommandGroup> groups = {}; ///< of the first slots
    };
    /// How it ended, where that was not by itself.
    enum class Cut {
        no,
        overdue,
        memory,       ///< it had passed its own limit
        worker_memory ///< in a group of its own, when the worker had passed its limit
    };
    struct Outcome {
        Call call;
        model::Ended ended;
        Cut cut = Cut::no;
        pid_t pid = 0;                         ///< 0: it could not be executed
        std::uint64_t limit = 0;               ///< of memory, that it has passed
        std::string journal = {}, digest = {}; ///< as the command's
    };
    using OnEnded = std::function<void(Outcome outcome)>;
    /// Whole lines of its output and of its errors, as a rule.
    using OnLines = std::function<void(const Call &call, std::string output, std::string errors)>;

    Commands(ev::Loop &loop, Place place, OnEnded on_ended, OnLines on_lines = {});
    Commands(const Commands &) = delete;
    Commands &operator=(const Commands &) = delete;
    ~Commands();

    /// What the tasks of a function have in common; `cpus` as its message says.
    Result<void> add(std::uint64_t function, std::string_view common, std::uint64_t cpus);
    void forget(std::uint64_t function) { kinds_.erase(function); }
    bool knows(std::uint64_t function) const { return kinds_.contains(function); }

    /// CPUs that a task of the function takes; never more than the worker has.
    std::uint64_t cpus_of(std::uint64_t function) const;
    std::uint64_t cpus_taken() const { return cpus_taken_; }
    std::size_t running() const { return running_.size(); }

    /// The outcome may come before it returns.
    void start(Call call);
    /// Kills it, and nothing is told of it. False where it does not run here.
    bool drop(std::uint64_t task, std::uint64_t instance);
    /// Its CPUs and its slot are free then; settle() tells how it ended. False where the process
    /// is none of these.
    bool on_reaped(pid_t pid, int status, const rusage &used);
    /// Tells the outcomes of those that were reaped.
    void settle();

    std::vector<pid_t> pids() const;
    /// The end of what it has written, its errors last; nothing where it does not run here.
    std::optional<std::string> output_of(std::uint64_t task, std::uint64_t instance) const;
    /// Calls each(call, since when it has run, by the clock in µs).
    template <class F> void each(F each) const {
        for (const auto &[pid, running] : running_) each(running.call, running.began_us);
    }
    /// False where it is none of these.
    bool kill_for_memory(pid_t pid);

private:
    /// Variables, as execve wants them, and what was found in PATH.
    struct Kind {
        model::Command common;
        std::uint64_t cpus = 1;
        std::vector<std::string> variables;
        std::map<std::string, std::string> found;
        std::string path;
    };
    struct Running {
        Call call;
        std::uint64_t slot = 0, cpus = 0, limit = 0;
        std::int64_t began_us = 0;
        std::int64_t began_at_us = 0; ///< time of day
        Fd output, errors;            ///< what is to be brought back
        bool tail_only = false;       ///< of errors: a file has them whole
        bool streamed = false;
        std::size_t told_output = 0, told_errors = 0; ///< bytes
        Cut cut = Cut::no;
        std::string journal, digest;
        std::uint64_t peak = 0;
        cgroup::CommandGroup *group = nullptr; ///< the slot's, where it keeps the limit
        std::uint64_t kills_before = 0;        ///< in the group
        std::unique_ptr<ev::Timer> deadline;
    };
    struct Reaped {
        Running running;
        pid_t pid;
        model::Ended ended; ///< but for what it has written
    };

    Result<void> open_files(const model::Command &command, Running &running, Fd &input, Fd &output,
                            Fd &errors);
    void enter_group(Running &running, std::vector<int> &join_fds);
    static void leave_group(Running &running);
    Result<std::string> find(Kind &kind, const model::Command &command) const;
    void free_place(const Running &running, model::Ended &ended);
    void tell(Running running, pid_t pid, model::Ended ended);
    void refuse(Running running, std::uint32_t code, const std::string &why);
    std::uint64_t take_slot();
    void look();
    void tell_lines();

    ev::Loop &loop_;
    Place place_;
    OnEnded on_ended_;
    OnLines on_lines_;
    std::map<std::uint64_t, Kind> kinds_;
    std::map<pid_t, Running> running_;
    std::vector<Reaped> reaped_;
    std::vector<bool> slots_;
    std::uint64_t cpus_taken_ = 0;
    Spawner spawner_;
    Fd spare_output_, spare_errors_; ///< for the next one, where there are
    Fd null_; ///< /dev/null, which those without an input read; once one has begun
    std::optional<ev::Ticker> look_;   ///< while one runs whose limit no group keeps
    std::optional<ev::Ticker> stream_; ///< while one runs that is streamed
};

} // namespace dtask::worker

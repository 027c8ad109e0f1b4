// SPDX-License-Identifier: Apache-2.0
//
// RecordingComm: keeps what the reactor sends until a test takes it. A test
// takes all that it expects and ends with expect_nothing(), so a message too
// many is found as well as one too few.
//
// It also holds what the wire demands of every run: a worker is sent a
// function before the first task that needs it, once, and no task of a
// function that it was told to forget.
//
// ck_abort_msg behind an if is quick; ck_assert writes to a file each time.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "runtime/scheduler/comm.h"

namespace dtask::fakes {

class RecordingComm final : public scheduler::Comm {
public:
    struct Run {
        WorkerId worker;
        FunctionId function;
        TaskId task;
        InstanceId instance;
        std::string args;
        std::vector<std::string> inputs; ///< those that are held: "@" and their path
        std::uint32_t timeout_ms = 0;
    };
    struct Fetch {
        WorkerId worker;
        TaskId data;
        std::string from;
    };
    struct Stored {
        ClientId client;
        std::uint64_t key;
        TaskId data;
        std::string at;
    };
    struct Ref { ///< retract or kill
        WorkerId worker;
        TaskId task;
        InstanceId instance;
    };
    struct Value {
        ClientId client;
        std::uint64_t key;
        std::string value;
    };
    struct Output {
        ClientId client;
        proto::Output output;
    };
    struct Failed {
        ClientId client;
        proto::Failure failure;
    };
    using Holding = std::pair<WorkerId, FunctionId>;

    std::vector<Holding> take_functions() { return std::exchange(functions_, {}); }
    std::vector<Run> take_runs() { return std::exchange(runs_, {}); }
    /// Those to one worker; the others stay.
    std::vector<Run> take_runs(WorkerId to);
    std::vector<Ref> take_retracts() { return std::exchange(retracts_, {}); }
    std::vector<Ref> take_kills() { return std::exchange(kills_, {}); }
    std::vector<Holding> take_forgets() { return std::exchange(forgets_, {}); }
    std::vector<Fetch> take_fetches() { return std::exchange(fetches_, {}); }
    std::vector<std::pair<WorkerId, TaskId>> take_frees() { return std::exchange(frees_, {}); }
    std::vector<Stored> take_stored() { return std::exchange(stored_, {}); }
    std::vector<WorkerId> take_dropped() { return std::exchange(dropped_, {}); }
    std::vector<Value> take_results() { return std::exchange(results_, {}); }
    std::vector<Failed> take_failures() { return std::exchange(failures_, {}); }
    std::vector<Output> take_outputs() { return std::exchange(outputs_, {}); }
    std::vector<proto::WorkerCount> take_counts() { return std::exchange(counts_, {}); }

    void expect_nothing() const;

    // scheduler::Comm
    void function(WorkerId to, FunctionId f, std::string_view, std::string_view,
                  std::uint64_t) override;
    void run(WorkerId to, FunctionId f, TaskId task, InstanceId instance, std::uint32_t timeout_ms,
             std::span<const scheduler::Input> inputs, std::string_view args) override;
    void retract(WorkerId to, TaskId task, InstanceId instance) override;
    void kill(WorkerId to, TaskId task, InstanceId instance) override;
    void forget(WorkerId to, FunctionId f) override;
    void fetch(WorkerId to, TaskId data, std::uint64_t, std::string_view from) override;
    void free(WorkerId to, TaskId data) override;
    void stored(ClientId to, std::uint64_t key, TaskId data, std::uint64_t,
                std::string_view at) override;
    void drop_worker(WorkerId worker) override;
    void result(ClientId to, std::uint64_t key, std::string_view value) override;
    void failed(ClientId to, proto::Failure failure) override;
    void output(ClientId to, const proto::Output &output) override;
    void workers_changed(proto::WorkerCount count) override;

private:
    std::set<Holding> holding_;
    std::vector<Holding> functions_, forgets_;
    std::vector<Run> runs_;
    std::vector<Ref> retracts_, kills_;
    std::vector<Fetch> fetches_;
    std::vector<std::pair<WorkerId, TaskId>> frees_;
    std::vector<Stored> stored_;
    std::vector<WorkerId> dropped_;
    std::vector<Value> results_;
    std::vector<Failed> failures_;
    std::vector<Output> outputs_;
    std::vector<proto::WorkerCount> counts_;
};

} // namespace dtask::fakes

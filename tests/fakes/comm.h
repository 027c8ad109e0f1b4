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

#include <check.h>

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
    struct Failed {
        ClientId client;
        proto::Failure failure;
    };
    using Holding = std::pair<WorkerId, FunctionId>;

    std::vector<Holding> take_functions() { return std::exchange(functions_, {}); }
    std::vector<Run> take_runs() { return std::exchange(runs_, {}); }
    /// Those to one worker; the others stay.
    std::vector<Run> take_runs(WorkerId to) {
        std::vector<Run> taken, rest;
        for (auto &run : runs_) (run.worker == to ? taken : rest).push_back(std::move(run));
        runs_ = std::move(rest);
        return taken;
    }
    std::vector<Ref> take_retracts() { return std::exchange(retracts_, {}); }
    std::vector<Ref> take_kills() { return std::exchange(kills_, {}); }
    std::vector<Holding> take_forgets() { return std::exchange(forgets_, {}); }
    std::vector<Fetch> take_fetches() { return std::exchange(fetches_, {}); }
    std::vector<std::pair<WorkerId, TaskId>> take_frees() { return std::exchange(frees_, {}); }
    std::vector<Stored> take_stored() { return std::exchange(stored_, {}); }
    std::vector<WorkerId> take_dropped() { return std::exchange(dropped_, {}); }
    std::vector<Value> take_results() { return std::exchange(results_, {}); }
    std::vector<Failed> take_failures() { return std::exchange(failures_, {}); }
    std::vector<proto::WorkerCount> take_counts() { return std::exchange(counts_, {}); }

    void expect_nothing() const {
        if (!functions_.empty()) ck_abort_msg("%zu functions were sent besides", functions_.size());
        if (!runs_.empty()) ck_abort_msg("%zu tasks were sent besides", runs_.size());
        if (!retracts_.empty()) ck_abort_msg("%zu retracts were sent besides", retracts_.size());
        if (!kills_.empty()) ck_abort_msg("%zu kills were sent besides", kills_.size());
        if (!forgets_.empty()) ck_abort_msg("%zu forgets were sent besides", forgets_.size());
        if (!fetches_.empty()) ck_abort_msg("%zu fetches were sent besides", fetches_.size());
        if (!frees_.empty()) ck_abort_msg("%zu frees were sent besides", frees_.size());
        if (!stored_.empty()) ck_abort_msg("%zu places were sent besides", stored_.size());
        if (!dropped_.empty()) ck_abort_msg("%zu workers were dropped besides", dropped_.size());
        if (!results_.empty()) ck_abort_msg("%zu results were sent besides", results_.size());
        if (!failures_.empty()) ck_abort_msg("%zu failures were sent besides", failures_.size());
        if (!counts_.empty()) ck_abort_msg("%zu worker counts were sent besides", counts_.size());
    }

    // scheduler::Comm
    void function(WorkerId to, FunctionId f, std::string_view, std::string_view,
                  std::uint64_t) override {
        if (!holding_.insert({to, f}).second)
            ck_abort_msg("a function was sent twice to one worker");
        functions_.emplace_back(to, f);
    }
    void run(WorkerId to, FunctionId f, TaskId task, InstanceId instance, std::uint32_t timeout_ms,
             std::span<const scheduler::Input> inputs, std::string_view args) override {
        if (!holding_.contains({to, f})) ck_abort_msg("a task was sent before its function");
        std::vector<std::string> values;
        for (const auto &input : inputs)
            values.push_back((input.held ? "@" : "") + std::string(input.bytes));
        runs_.push_back({to, f, task, instance, std::string(args), std::move(values), timeout_ms});
    }
    void retract(WorkerId to, TaskId task, InstanceId instance) override {
        retracts_.push_back({to, task, instance});
    }
    void kill(WorkerId to, TaskId task, InstanceId instance) override {
        kills_.push_back({to, task, instance});
    }
    void forget(WorkerId to, FunctionId f) override {
        if (holding_.erase({to, f}) == 0) ck_abort_msg("a worker is to forget what it never had");
        forgets_.emplace_back(to, f);
    }
    void fetch(WorkerId to, TaskId data, std::uint64_t, std::string_view from) override {
        fetches_.push_back({to, data, std::string(from)});
    }
    void free(WorkerId to, TaskId data) override { frees_.emplace_back(to, data); }
    void stored(ClientId to, std::uint64_t key, TaskId data, std::uint64_t,
                std::string_view at) override {
        stored_.push_back({to, key, data, std::string(at)});
    }
    void drop_worker(WorkerId worker) override { dropped_.push_back(worker); }
    void result(ClientId to, std::uint64_t key, std::string_view value) override {
        results_.push_back({to, key, std::string(value)});
    }
    void failed(ClientId to, proto::Failure failure) override {
        failures_.push_back({to, std::move(failure)});
    }
    void workers_changed(proto::WorkerCount count) override { counts_.push_back(count); }

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
    std::vector<proto::WorkerCount> counts_;
};

} // namespace dtask::fakes

// SPDX-License-Identifier: Apache-2.0
//
// Stage: a scheduler's core with a clock that stands still and a Comm that
// records. After each event it checks every invariant that core.h states.
#pragma once

#include <string>
#include <vector>

#include "runtime/scheduler/reactor.h"
#include "tests/fakes/clock.h"
#include "tests/fakes/comm.h"
#include "tests/unit/invariants.h"
#include "tests/unit/unit.h"

namespace dtask::test {

/// A message `graph` in the making; function 1, arguments "aN".
struct Graph {
    proto::Graph message;

    explicit Graph(std::uint64_t number = 1) { message.graph = number; }
    Graph &task(std::uint64_t key, const proto::Column &inputs = {}, bool wanted = false) {
        auto args = "a" + std::to_string(key);
        message.f.push_back(1);
        message.k.push_back(key);
        message.inputs.push_back(inputs.size());
        message.in.insert(message.in.end(), inputs.begin(), inputs.end());
        message.wanted.push_back(wanted);
        message.len.push_back(args.size());
        message.payload += args;
        return *this;
    }
    Graph &complete() {
        message.complete = true;
        return *this;
    }
};

struct Stage {
    scheduler::Core core;
    fakes::RecordingComm comm;
    fakes::ManualClock clock;
    std::uint64_t next_slurm_task = 0;

    Stage() {
        core.settings.expected = 2;
        core.started_us = clock.now_us();
    }
    scheduler::Reactor reactor() { return {core, comm, clock}; }

    ClientId client() { return on_new_client(reactor()); }
    /// A client with function 1, "f".
    ClientId client_with_function();
    void function(ClientId client, std::uint64_t f, const char *name = "f");
    /// Tasks first..first+count-1, each with the arguments "aN".
    void submit(ClientId client, std::uint64_t first, std::uint64_t count, std::uint64_t f = 1,
                std::uint64_t retries = 0, std::int64_t priority = 0);
    static proto::Submit message(std::uint64_t first, std::uint64_t count, std::uint64_t f = 1,
                                 std::uint64_t retries = 0, std::int64_t priority = 0);
    /// On a node of its own unless one is given; its store is /sN, its listener wN.
    WorkerId worker(std::uint64_t concurrency = 1, const std::string &node = {});
    bool dispatch();
    void done(WorkerId worker, TaskId task, InstanceId instance, const std::string &value = "v",
              std::uint64_t us = 1'000'000, bool raised = false);
    void done(const fakes::RecordingComm::Run &run, const std::string &value = "v",
              std::uint64_t us = 1'000'000);
    /// With a value that stays in the worker's store.
    void stored(const fakes::RecordingComm::Run &run, std::uint64_t size = 1'000'000);
    void fetched(const fakes::RecordingComm::Fetch &fetch);
    void unfetched(const fakes::RecordingComm::Fetch &fetch, bool full = false);
    void send(ClientId client, const Graph &graph);
    /// The one task that was sent.
    fakes::RecordingComm::Run one_run();
    /// The one that a dispatch sends.
    fakes::RecordingComm::Run next_run();
    /// All of one worker, in one message.
    void done(const std::vector<fakes::RecordingComm::Run> &runs, std::uint64_t us);
    void raised(const fakes::RecordingComm::Run &run, const std::string &error = "e");
    void failed(const fakes::RecordingComm::Run &run, proto::FailureKind kind,
                const char *message = "it ended with signal 9 (Killed)");
    void retracted(WorkerId worker, const std::vector<fakes::RecordingComm::Ref> &refs);
    void lost(WorkerId worker, const char *why = "its connection was closed");
    /// Nothing more was sent and the state is sound.
    void over();
};

} // namespace dtask::test

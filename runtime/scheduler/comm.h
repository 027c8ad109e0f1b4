// SPDX-License-Identifier: Apache-2.0
//
// Comm: every effect that the reactor can have. The server sends frames; a
// test records the calls. An implementation may batch, but keeps the order of
// what goes to one peer, and must not call back into the reactor.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "lib/base/ids.h"
#include "lib/proto/message.h"

namespace dtask::scheduler {

/// An input of a task: its pickled value or, where it is held in a store on the
/// worker's node, the path of that. Valid for the call.
struct Input {
    std::string_view bytes;
    bool held = false;
};

class Comm {
public:
    virtual ~Comm() = default;

    /// cpus: 0, or the CPUs that each of its tasks takes, which are commands.
    virtual void function(WorkerId to, FunctionId f, std::string_view name,
                          std::string_view pickled, std::uint64_t cpus) = 0;
    virtual void run(WorkerId to, FunctionId f, TaskId task, InstanceId instance,
                     std::uint32_t timeout_ms, std::span<const Input> inputs,
                     std::string_view args) = 0;
    virtual void retract(WorkerId to, TaskId task, InstanceId instance) = 0;
    virtual void kill(WorkerId to, TaskId task, InstanceId instance) = 0;
    virtual void forget(WorkerId to, FunctionId f) = 0;
    /// The value of `data` is to be copied from the worker that listens at `from`.
    virtual void fetch(WorkerId to, TaskId data, std::uint64_t size, std::string_view from) = 0;
    virtual void free(WorkerId to, TaskId data) = 0;
    virtual void drop_worker(WorkerId worker) = 0; ///< close the connection of one that was lost

    virtual void result(ClientId to, std::uint64_t key, std::string_view value) = 0;
    /// The result stays with the worker that listens at `at`.
    virtual void stored(ClientId to, std::uint64_t key, TaskId data, std::uint64_t size,
                        std::string_view at) = 0;
    virtual void failed(ClientId to, proto::Failure failure) = 0;
    virtual void output(ClientId to, const proto::Output &output) = 0;

    /// To every client and launcher.
    virtual void workers_changed(proto::WorkerCount count) = 0;
};

} // namespace dtask::scheduler

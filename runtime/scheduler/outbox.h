// SPDX-License-Identifier: Apache-2.0
//
// Outbox: what is to be sent to one peer at the end of this turn. Tasks and
// results are gathered into one frame; a frame of any other kind first sends
// what was gathered before it, so that a peer sees everything in order.
#pragma once

#include <span>

#include "lib/proto/codec.h"
#include "lib/proto/link.h"
#include "runtime/scheduler/comm.h"

namespace dtask::scheduler {

class Outbox {
public:
    explicit Outbox(proto::Link &link) : link_(link) {}

    void run(FunctionId f, TaskId task, InstanceId instance, std::uint32_t timeout_ms,
             std::span<const Input> inputs, std::string_view args) {
        std::size_t before = run_.payload.size();
        // Columns of inputs are there once one task of the frame has some.
        if (!inputs.empty()) run_.inputs.resize(run_.k.size(), 0);
        if (!inputs.empty() || !run_.inputs.empty()) run_.inputs.push_back(inputs.size());
        for (const auto &input : inputs) {
            if (input.held) run_.held.resize(run_.in.size(), 0);
            if (input.held || !run_.held.empty()) run_.held.push_back(input.held);
            run_.in.push_back(input.bytes.size());
            run_.payload += input.bytes;
        }
        run_.payload += args;
        if (timeout_ms > 0) run_.timeout.resize(run_.k.size(), 0);
        if (timeout_ms > 0 || !run_.timeout.empty()) run_.timeout.push_back(timeout_ms);
        run_.f.push_back(f.value);
        run_.k.push_back(task.value);
        run_.i.push_back(instance.value);
        run_.len.push_back(run_.payload.size() - before);
        if (run_.payload.size() >= proto::batch_payload) flush();
    }

    void result(std::uint64_t key, std::string_view value) {
        results_.k.push_back(key);
        results_.len.push_back(value.size());
        results_.payload += value;
        if (results_.payload.size() >= proto::batch_payload) flush();
    }

    void free(TaskId data) { free_.push_back(data.value); }
    void retract(TaskId task, InstanceId instance) { add(retract_, task, instance); }
    void kill(TaskId task, InstanceId instance) { add(kill_, task, instance); }

    void frame(proto::Frame frame) {
        flush();
        link_.send(std::move(frame));
    }

    void flush() {
        if (!run_.k.empty()) link_.send(proto::encode(std::exchange(run_, {})));
        if (!results_.k.empty()) link_.send(proto::encode(std::exchange(results_, {})));
        if (!retract_.empty())
            link_.send(proto::encode_refs("retract", std::exchange(retract_, {})));
        if (!free_.empty()) link_.send(proto::encode_data("free", std::exchange(free_, {})));
        if (!kill_.empty()) link_.send(proto::encode_refs("kill", std::exchange(kill_, {})));
    }

private:
    void add(proto::Refs &refs, TaskId task, InstanceId instance) {
        refs.k.push_back(task.value);
        refs.i.push_back(instance.value);
    }

    proto::Link &link_;
    proto::Run run_;
    proto::Results results_;
    proto::Refs retract_, kill_;
    proto::Column free_;
};

} // namespace dtask::scheduler

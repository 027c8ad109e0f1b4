// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/comm.h"

#include <check.h>

namespace dtask::fakes {

std::vector<RecordingComm::Run> RecordingComm::take_runs(WorkerId to) {
    std::vector<Run> taken, rest;
    for (auto &run : runs_) (run.worker == to ? taken : rest).push_back(std::move(run));
    runs_ = std::move(rest);
    return taken;
}

void RecordingComm::expect_nothing() const {
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
    if (!outputs_.empty()) ck_abort_msg("%zu outputs were sent besides", outputs_.size());
    if (!counts_.empty()) ck_abort_msg("%zu worker counts were sent besides", counts_.size());
}

void RecordingComm::function(WorkerId to, FunctionId f, std::string_view, std::string_view,
                             std::uint64_t) {
    if (!holding_.insert({to, f}).second) ck_abort_msg("a function was sent twice to one worker");
    functions_.emplace_back(to, f);
}

void RecordingComm::run(WorkerId to, FunctionId f, TaskId task, InstanceId instance,
                        std::uint32_t timeout_ms, std::span<const scheduler::Input> inputs,
                        std::string_view args) {
    if (!holding_.contains({to, f})) ck_abort_msg("a task was sent before its function");
    std::vector<std::string> values;
    for (const auto &input : inputs)
        values.push_back((input.held ? "@" : "") + std::string(input.bytes));
    runs_.push_back({to, f, task, instance, std::string(args), std::move(values), timeout_ms});
}

void RecordingComm::retract(WorkerId to, TaskId task, InstanceId instance) {
    retracts_.push_back({to, task, instance});
}

void RecordingComm::kill(WorkerId to, TaskId task, InstanceId instance) {
    kills_.push_back({to, task, instance});
}

void RecordingComm::forget(WorkerId to, FunctionId f) {
    if (holding_.erase({to, f}) == 0) ck_abort_msg("a worker is to forget what it never had");
    forgets_.emplace_back(to, f);
}

void RecordingComm::fetch(WorkerId to, TaskId data, std::uint64_t, std::string_view from) {
    fetches_.push_back({to, data, std::string(from)});
}

void RecordingComm::free(WorkerId to, TaskId data) { frees_.emplace_back(to, data); }

void RecordingComm::stored(ClientId to, std::uint64_t key, TaskId data, std::uint64_t,
                           std::string_view at) {
    stored_.push_back({to, key, data, std::string(at)});
}

void RecordingComm::drop_worker(WorkerId worker) { dropped_.push_back(worker); }

void RecordingComm::result(ClientId to, std::uint64_t key, std::string_view value) {
    results_.push_back({to, key, std::string(value)});
}

void RecordingComm::failed(ClientId to, proto::Failure failure) {
    failures_.push_back({to, std::move(failure)});
}

void RecordingComm::output(ClientId to, const proto::Output &output) {
    outputs_.push_back({to, output});
}

void RecordingComm::workers_changed(proto::WorkerCount count) { counts_.push_back(count); }

} // namespace dtask::fakes

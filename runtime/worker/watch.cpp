// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/watch.h"

#include <csignal>
#include <string>

#include "lib/base/log.h"

namespace dtask::worker {

namespace {

constexpr std::int64_t stat_ms = 1'000;
constexpr std::int64_t look_ms = 20; // between looks at resident sets

} // namespace

Watch::Watch(ev::Loop &loop, Memory memory, Values &values, Host host)
    : memory_(std::move(memory)), values_(values), host_(std::move(host)),
      stat_(loop, stat_ms, [this] { stat(); }) {
    if (memory_.needs_watch()) look_.emplace(loop, look_ms, [this] { look(); });
}

Pids Watch::pids_of(const std::vector<Executor *> &executors) const {
    Pids pids = host_.commands();
    for (const auto *executor : executors) pids.push_back(executor->pid());
    return pids;
}

SharedMemory Watch::shared(const std::vector<Executor *> &executors) const {
    std::uint64_t held = 0;
    for (const auto *executor : executors)
        for (const auto &call : executor->in_flight()) held += call.held;
    return values_.shared(held);
}

void Watch::make_room() {
    auto executors = host_.executors();
    values_.make_room(memory_.needed(pids_of(executors), shared(executors)), memory_.limit());
}

void Watch::stat() {
    memory_.forget_old_kills();
    make_room();
    auto executors = host_.executors();
    auto pids = pids_of(executors);
    host_.on_stat(usage_.stat(memory_, memory_.usage(pids, shared(executors)), pids));
}

void Watch::look() {
    if (values_.store().bytes_in_memory() > 0) make_room();
    auto executors = host_.executors();
    auto victim = memory_.over_limit(pids_of(executors), shared(executors));
    if (!victim) return;
    for (auto *executor : executors)
        if (executor->pid() == *victim) return executor->kill();
    if (host_.kill_command(*victim)) return;
    log::warning("process " + std::to_string(*victim) +
                 ", which a function had left behind, was killed: the worker had passed its memory "
                 "limit, and most of it was there");
    ::kill(*victim, SIGKILL);
}

} // namespace dtask::worker

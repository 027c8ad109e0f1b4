// SPDX-License-Identifier: Apache-2.0
// The worker's part for its executors: how many there are, when one starts or retires, and what
// becomes of the calls of one that has died.
#include "runtime/worker/worker.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include <sys/wait.h>

#include "lib/base/exit_codes.h"
#include "lib/base/log.h"
#include "runtime/worker/report.h"

namespace dtask::worker {

namespace {

constexpr unsigned most_failed_starts = 3;

} // namespace

void Worker::start_executor(std::size_t slot) {
    auto executor = nursery_->executor(
        {.on_ready =
             [this] {
                 failed_starts_ = 0;
                 feed();
             },
         .on_outcome = [this](const Call &call, proto::RecordKind kind, const std::string &value,
                              std::uint64_t us) { on_outcome(call, kind, value, us); },
         .on_blocked = [this, slot] { on_blocked(slot); },
         .on_dead = [this, slot](int status) { on_executor_dead(slot, status); }});
    if (!executor) return give_up(executor.error().text());
    slots_[slot] = {std::move(*executor)};
    watch_.memory().set_nursery(nursery_->pid());
}

// Executors that hold a slot, those that start included.
std::size_t Worker::active() const {
    return static_cast<std::size_t>(std::ranges::count_if(slots_, [](const Slot &slot) {
        return slot.executor && !slot.executor->blocked() && !slot.executor->retired();
    }));
}

// Starts one where a slot is free. One at a time: the queue is looked at again
// once it is ready.
void Worker::staff() {
    if (exit_code_ || !unfit_.empty() || active() >= settings_.about.concurrency) return;
    auto free = std::ranges::find_if(slots_, [](const Slot &slot) { return !slot.executor; });
    auto index = static_cast<std::size_t>(free - slots_.begin());
    if (free == slots_.end()) slots_.emplace_back();
    start_executor(index);
}

void Worker::on_blocked(std::size_t slot) {
    auto &executor = *slots_[slot].executor;
    if (executor.blocked()) {
        auto ahead = executor.take_ahead();
        for (auto it = ahead.rbegin(); it != ahead.rend(); ++it)
            if (!it->dropped) queue_.push_front(std::move(*it));
    }
    tell_blocked();
    feed();
}

void Worker::tell_blocked() {
    auto count = static_cast<std::uint64_t>(std::ranges::count_if(
        slots_, [](const Slot &slot) { return slot.executor && slot.executor->blocked(); }));
    if (!dialer_ || std::exchange(blocked_, count) == count) return;
    end_turn(); // what was finished before
    auto frame = proto::make_frame("blocked");
    frame.header.set("n", count);
    dialer_->send(std::move(frame));
}

void Worker::retire_surplus() {
    auto surplus = active();
    for (auto &slot : slots_) {
        if (surplus <= settings_.about.concurrency) return;
        auto *e = slot.executor.get();
        if (!e || !e->takes_calls() || !e->in_flight().empty()) continue;
        e->retire();
        surplus--;
    }
}

// Calls that wait hold the memory that an executor needs to start: the last of
// them gives way, as if it had passed the limit itself.
bool Worker::make_way() {
    for (auto slot = slots_.rbegin(); slot != slots_.rend(); ++slot)
        if (slot->executor && slot->executor->blocked()) {
            slot->for_memory = true;
            slot->executor->kill();
            return true;
        }
    return false;
}

void Worker::on_executor_dead(std::size_t slot, int status) {
    auto executor = std::move(slots_[slot].executor);
    bool memory_kill =
        WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !executor->retired() &&
        (slots_[slot].for_memory || watch_.memory().was_memory_kill(executor->pid()));
    auto calls = executor->take_in_flight();
    if (!calls.empty()) values_.on_executor_dead(calls.front(), executor->pid());
    if (!executor->ready() && memory_kill && make_way()) {
        log::info("an executor did not start beside calls that wait: over the memory limit");
    } else if (!executor->ready() && WIFEXITED(status) &&
               WEXITSTATUS(status) == exit_code::other_version) {
        failed_starts_ = most_failed_starts; // no other one will start
        last_start_ = "the package dtask there is of another version than this step; run it anew";
    } else if (!executor->ready()) {
        failed_starts_++;
        const auto &why = executor->why_stillborn();
        last_start_ =
            !why.empty() ? why
                         : describe_status(status) + (memory_kill ? ", over the memory limit" : "");
        log::info("an executor did not start: " + last_start_);
    } else if (!calls.empty()) {
        Call culprit = std::move(calls.front());
        calls.pop_front();
        std::optional<MemoryKill> kill;
        if (memory_kill)
            kill = {watch_.memory().limit(), watch_.memory().peak(),
                    watch_.memory().was_below_limit()};
        // The kernel may have killed it for what values had, which could be elsewhere, or for
        // what others had: that may pass.
        bool tight = memory_kill && watch_.memory().counts_values() && !culprit.again;
        if (!culprit.dropped && tight &&
            (values_.give_way() || watch_.memory().was_below_limit())) {
            culprit.again = true;
            calls.push_front(std::move(culprit));
        } else if (!culprit.dropped) {
            report(executor->overdue() ? overdue(culprit) : died(culprit, status, kill));
        }
    }
    // They had not begun.
    for (auto it = calls.rbegin(); it != calls.rend(); ++it)
        if (!it->dropped) queue_.push_front(std::move(*it));
    dead_.push_back(std::move(executor));
    end_turn_soon();
    if (failed_starts_ >= most_failed_starts)
        return give_up("its executors do not start (" + settings_.executor.program +
                       "): " + last_start_);
    tell_blocked();
    staff();
    feed();
}

std::vector<Executor *> Worker::executors() const {
    std::vector<Executor *> living;
    for (const auto &slot : slots_)
        if (slot.executor && !slot.executor->dead() && slot.executor->pid() != 0)
            living.push_back(slot.executor.get());
    return living;
}

} // namespace dtask::worker

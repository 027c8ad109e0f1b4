// SPDX-License-Identifier: Apache-2.0
// The worker's part for tasks that are commands: when one may begin, and what is
// reported of it.
#include <algorithm>
#include <csignal>
#include <utility>

#include <sys/resource.h>
#include <sys/wait.h>

#include "runtime/worker/report.h"
#include "runtime/worker/worker.h"

namespace dtask::worker {

namespace {

constexpr std::int64_t report_ms = 100; // within what the scheduler has queued here

} // namespace

Commands::Place Worker::command_place() {
    const auto &about = settings_.about;
    Commands::Place place;
    place.env = settings_.commands;
    place.host = about.node;
    place.cpus = std::max<std::uint64_t>(about.nthreads, 1);
    place.threads = std::max<std::uint64_t>(about.nthreads / about.concurrency, 1);
    place.first_slot = settings_.first_slot;
    place.join_fds = settings_.executor.join_fds;
    place.groups = watch_.memory().open_command_groups();
    return place;
}

// Executors that have a call, without those that wait for tasks of their own.
std::uint64_t Worker::busy_executors() const {
    return static_cast<std::uint64_t>(std::ranges::count_if(slots_, [](const Slot &slot) {
        return slot.executor && !slot.executor->blocked() && !slot.executor->in_flight().empty();
    }));
}

// Calls begin in their order: one that needs more CPUs than are free holds up those behind
// it, so that it has its turn.
bool Worker::has_room(const Call &call) const {
    auto all = std::max<std::uint64_t>(settings_.about.nthreads, 1);
    if (commands_->knows(call.function)) {
        auto each = std::max<std::uint64_t>(all / settings_.about.concurrency, 1);
        auto taken = commands_->cpus_taken() + each * busy_executors();
        return taken == 0 || taken + commands_->cpus_of(call.function) <= all;
    }
    // A function may have what no command has taken.
    auto each = std::max<std::uint64_t>(all / settings_.about.concurrency, 1);
    return commands_->cpus_taken() == 0 ||
           commands_->cpus_taken() + each * (busy_executors() + 1) <= all;
}

void Worker::learn(std::uint64_t function, std::uint64_t us) {
    auto found = functions_.find(function);
    if (found == functions_.end()) return;
    constexpr double weight = 0.125;
    auto &mean = found->second.mean_us;
    double sample = static_cast<double>(us);
    mean = mean < 0 ? sample : mean + weight * (sample - mean);
}

// What has ended by now has, though nobody hears of it.
void Worker::end_commands() {
    int status;
    rusage used{};
    while (pid_t pid = ::wait4(-1, &status, WNOHANG, &used)) {
        if (pid < 0) break;
        commands_->on_reaped(pid, status, used);
    }
    commands_->settle();
    commands_.reset();
    if (!client_ended_) receipts_.write(settings_.about.name);
}

void Worker::on_command_ended(const Commands::Outcome &outcome) {
    const auto &call = outcome.call;
    const auto &ended = outcome.ended;
    learn(call.function, ended.ran_us);
    if (call.dropped) return;
    auto tell = [&](proto::Failure failure) {
        failure.exit = ended.exit;
        failure.signal = ended.signal;
        failure.payload = ended.encode();
        report(std::move(failure));
    };
    bool by_kernel = outcome.cut == Commands::Cut::worker_memory ||
                     (outcome.cut == Commands::Cut::no && ended.signal == SIGKILL &&
                      watch_.memory().was_memory_kill(outcome.pid));
    if (outcome.cut == Commands::Cut::overdue) {
        tell(overdue(call));
    } else if (outcome.cut == Commands::Cut::memory) {
        tell(over_own_limit(call, outcome.limit, ended.peak));
    } else if (by_kernel) {
        auto limit = watch_.memory().limit(), peak = watch_.memory().peak();
        bool below = outcome.cut == Commands::Cut::worker_memory
                         ? peak + limit / limit_tolerance < limit
                         : watch_.memory().was_below_limit();
        tell(died(call, SIGKILL, MemoryKill{limit, peak, below}));
    } else {
        auto bytes = ended.encode();
        bool well = ended.exit == 0 && ended.signal == 0;
        if (well) receipts_.add(call.function, outcome.journal, outcome.digest, bytes);
        add_outcome(done_, call, ended.ran_us, !well, std::move(bytes));
        if (done_.payload.size() >= proto::batch_payload) end_turn();
        // Where more are at hand nobody waits for this one: a message for several is cheaper for
        // all whom it passes.
        if (queue_.size() > commands_->running() && !done_.k.empty()) {
            if (!std::exchange(report_pending_, true)) report_.set(report_ms);
            return;
        }
    }
    end_turn_soon();
}

} // namespace dtask::worker

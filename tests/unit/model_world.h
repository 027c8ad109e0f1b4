// SPDX-License-Identifier: Apache-2.0
//
// World: the scheduler, its clients and its workers as a model has them. Workers are played with a
// queue in each direction, so that reports, kills, retracts and losses cross on the way as they do
// on a network. After each event
//
//   - every invariant of core.h holds,
//   - exactly those outcomes were sent that the model expects: one for each
//     task, none for a client that has gone,
//   - after a dispatch no worker idles while there is work for it.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "tests/unit/stage.h"

namespace dtask::test {

using Run = fakes::RecordingComm::Run;
using Ref = fakes::RecordingComm::Ref;

struct ModelTask {
    std::uint64_t retries = 0, tries = 0;
    std::uint64_t f = 0;
    std::optional<Run> current; ///< the dispatch whose report counts
};

struct ModelClient {
    std::uint64_t functions = 0, next_key = 1;
    std::map<std::uint64_t, ModelTask> open; ///< by key; no outcome yet
};

/// A report on its way from a worker.
struct Report {
    enum Kind { done, raised, failed, retracted } kind;
    std::vector<Ref> refs;
    proto::FailureKind failure = proto::FailureKind::crashed;
    std::string value;
    std::uint64_t us = 0;
};

struct Message {
    enum class Kind { run, retract, kill } kind;
    std::vector<Ref> refs;
    std::string args;
};

struct PlayedWorker {
    std::uint64_t concurrency = 1, slurm_task = 0;
    std::deque<Message> inbox;
    std::deque<Report> outbox;
    std::deque<std::pair<Ref, std::string>> held; ///< in order; the first ones run
    std::deque<TaskId> dispatched;                ///< as the scheduler sees it
};

/// Client, key, what.
using Outcome = std::tuple<std::uint64_t, std::uint64_t, std::string>;

class World {
public:
    explicit World(std::uint64_t seed);

    void play();

private:
    std::uint64_t below(std::uint64_t n) { return random_() % n; }
    bool chance(unsigned percent) { return below(100) < percent; }
    template <class Map> typename Map::iterator any(Map &map) {
        return std::next(map.begin(), static_cast<std::ptrdiff_t>(below(map.size())));
    }

    void event();

    // What the world does

    void new_client();
    void new_function();
    void submit();
    void cancel();
    void lose_client();
    void new_worker();
    void lose_worker();
    // The model's part of a loss: what can have begun was a try.
    void forget_worker(WorkerId id);
    void unfit();
    // Nobody speaks for a while, but for some.
    void quiet();
    void dispatch();
    void take(const Run &run);
    void check_that_none_idles();

    // What the workers do

    void worker_reads();
    void worker_works();
    void report_arrives();
    void deliver(WorkerId id, const Report &report);

    // The model

    std::size_t open_tasks() const;
    /// The task whose present dispatch is `ref`.
    ModelTask *current(const Ref &ref);
    void undispatch(ModelTask &task);
    void end(ClientId client, std::uint64_t key, std::string what);
    void try_was_lost(ClientId client, std::uint64_t key, ModelTask &task, const char *what);

    // After each event: what was sent is what the model expects.
    void after();
    // With a worker that works, all ends.
    void drain();

    Stage stage_;
    std::mt19937_64 random_;
    std::map<ClientId, ModelClient> clients_;
    std::map<WorkerId, PlayedWorker> workers_;
    std::set<std::uint64_t> unfit_; ///< by Slurm task
    std::map<TaskId, std::pair<ClientId, std::uint64_t>> names_;
    std::map<TaskId, InstanceId> instances_;
    std::vector<std::pair<WorkerId, Report>> old_;
    std::set<Outcome> expected_;
};

} // namespace dtask::test

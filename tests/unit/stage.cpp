// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/stage.h"

namespace dtask::test {

ClientId Stage::client_with_function() {
    auto id = client();
    function(id, 1);
    return id;
}

void Stage::function(ClientId client, std::uint64_t f, const char *name) {
    must(on_function(reactor(), client, {f, name, "pickled"}));
}

void Stage::submit(ClientId client, std::uint64_t first, std::uint64_t count, std::uint64_t f,
                   std::uint64_t retries, std::int64_t priority) {
    must(on_submit(reactor(), client, message(first, count, f, retries, priority)));
}

proto::Submit Stage::message(std::uint64_t first, std::uint64_t count, std::uint64_t f,
                             std::uint64_t retries, std::int64_t priority) {
    proto::Submit m;
    m.f = f;
    m.retries = retries;
    m.priority = priority;
    for (std::uint64_t key = first; key < first + count; key++) {
        auto args = "a" + std::to_string(key);
        m.k.push_back(key);
        m.len.push_back(args.size());
        m.payload += args;
    }
    return m;
}

WorkerId Stage::worker(std::uint64_t concurrency, const std::string &node) {
    proto::Register about;
    about.task = next_slurm_task++;
    about.node = node.empty() ? "n" + std::to_string(about.task) : node;
    about.store = "/s" + std::to_string(about.task);
    about.address = "w" + std::to_string(about.task);
    about.name = about.node + "." + std::to_string(about.task);
    about.concurrency = concurrency;
    about.resources["gpu"] = about.task % 3;
    return on_new_worker(reactor(), about);
}

bool Stage::dispatch() {
    bool again = scheduler::dispatch(reactor());
    check_invariants(core);
    return again;
}

void Stage::done(WorkerId worker, TaskId task, InstanceId instance, const std::string &value,
                 std::uint64_t us, bool raised) {
    must(on_done(reactor(), worker,
                 {{task.value}, {instance.value}, {us}, {raised}, {value.size()}, value}));
    check_invariants(core);
}

void Stage::done(const fakes::RecordingComm::Run &run, const std::string &value, std::uint64_t us) {
    done(run.worker, run.task, run.instance, value, us);
}

void Stage::stored(const fakes::RecordingComm::Run &run, std::uint64_t size) {
    proto::Done report{{run.task.value}, {run.instance.value}, {1'000'000}, {0}, {0}, {}, {size}};
    must(on_done(reactor(), run.worker, report));
    check_invariants(core);
}

void Stage::fetched(const fakes::RecordingComm::Fetch &fetch) {
    on_fetched(reactor(), fetch.worker, fetch.data);
    check_invariants(core);
}

void Stage::unfetched(const fakes::RecordingComm::Fetch &fetch, bool full) {
    on_unfetched(reactor(), fetch.worker,
                 {fetch.data.value, full ? "/disk has no room" : "connection refused", full});
    check_invariants(core);
}

void Stage::send(ClientId client, const Graph &graph) {
    must(on_graph(reactor(), client, graph.message));
    check_invariants(core);
}

fakes::RecordingComm::Run Stage::one_run() {
    auto runs = comm.take_runs();
    ck_assert_uint_eq(runs.size(), 1);
    return runs[0];
}

fakes::RecordingComm::Run Stage::next_run() {
    dispatch();
    return one_run();
}

void Stage::done(const std::vector<fakes::RecordingComm::Run> &runs, std::uint64_t us) {
    proto::Done report;
    for (const auto &run : runs) {
        report.k.push_back(run.task.value);
        report.i.push_back(run.instance.value);
        report.us.push_back(us);
        report.raised.push_back(0);
        report.len.push_back(0);
    }
    must(on_done(reactor(), runs.at(0).worker, report));
    check_invariants(core);
}

void Stage::raised(const fakes::RecordingComm::Run &run, const std::string &error) {
    done(run.worker, run.task, run.instance, error, 1'000'000, true);
}

void Stage::failed(const fakes::RecordingComm::Run &run, proto::FailureKind kind,
                   const char *message) {
    proto::Failure failure;
    failure.k = run.task.value;
    failure.i = run.instance.value;
    failure.kind = kind;
    failure.message = message;
    must(on_failed(reactor(), run.worker, failure));
    check_invariants(core);
}

void Stage::retracted(WorkerId worker, const std::vector<fakes::RecordingComm::Ref> &refs) {
    proto::Refs given_back;
    for (const auto &ref : refs) {
        given_back.k.push_back(ref.task.value);
        given_back.i.push_back(ref.instance.value);
    }
    on_retracted(reactor(), worker, given_back);
    check_invariants(core);
}

void Stage::lost(WorkerId worker, const char *why) {
    on_worker_lost(reactor(), worker, why);
    check_invariants(core);
}

void Stage::over() {
    check_invariants(core);
    comm.expect_nothing();
}

} // namespace dtask::test

// SPDX-License-Identifier: Apache-2.0
// The codec of what is told of a cluster's state: `stat` and `info`.
#include "lib/proto/codec.h"
#include "lib/proto/reader.h"

namespace dtask::proto {

namespace {

std::uint64_t natural_or_0(const Json &object, const char *name) {
    auto number = object.integer_or(name, 0);
    return number > 0 ? static_cast<std::uint64_t>(number) : 0;
}

Json task_of(const TaskInfo &m) {
    return Json::object().set("name", m.name).set("client", m.client).set("k", m.k).set("ms", m.ms);
}

TaskInfo read_task(const Json &row) {
    return {row.string_or("name", ""), natural_or_0(row, "client"), natural_or_0(row, "k"),
            natural_or_0(row, "ms")};
}

} // namespace

Frame encode(const Stat &m) {
    Frame frame = make_frame("stat");
    frame.header.set("memory", m.memory).set("peak", m.peak).set("cpu_us", m.cpu_us);
    if (!m.k.empty()) frame.header.set("k", m.k).set("i", m.i).set("us", m.us);
    return frame;
}

Result<Stat> decode_stat(const Frame &frame) {
    Stat m;
    Reader in(frame.header);
    in.natural("memory", m.memory);
    m.peak = natural_or_0(frame.header, "peak");
    m.cpu_us = natural_or_0(frame.header, "cpu_us");
    if (frame.header.has("k")) {
        in.column("k", m.k);
        in.column("i", m.i);
        in.column("us", m.us);
    }
    return in.done(std::move(m));
}

Frame encode(const Info &m) {
    Frame frame = make_frame("info");
    Json workers = Json::array();
    for (const auto &w : m.workers) {
        Json tasks = Json::array();
        for (const auto &task : w.tasks) tasks.append(task_of(task));
        workers.append(about(w.about)
                           .set("memory", w.memory)
                           .set("peak", w.peak)
                           .set("cpu", w.cpu)
                           .set("cpu_us", w.cpu_us)
                           .set("heard_ms", w.heard_ms)
                           .set("running", w.running)
                           .set("queued", w.queued)
                           .set("done", w.done)
                           .set("current", std::move(tasks)));
    }
    Json failures = Json::array();
    for (const auto &f : m.failures)
        failures.append(task_of(f.task)
                            .set("kind", name_of(f.kind))
                            .set("message", f.message)
                            .set("worker", f.worker)
                            .set("node", f.node)
                            .set("tries", f.tries));
    frame.header.set("id", m.id)
        .set("engine", m.engine)
        .set("address", m.address)
        .set("uptime", m.uptime_s)
        .set("expected", m.expected)
        .set("clients", m.clients)
        .set("tasks", Json::object()
                          .set("waiting", m.waiting)
                          .set("running", m.running)
                          .set("done", m.done)
                          .set("failed", m.failed)
                          .set("retried", m.retried)
                          .set("busy_us", m.busy_us))
        .set("began", m.began_s)
        .set("uptime_ms", m.uptime_ms)
        .set("recent", Json::object().set("ms", m.recent_ms).set("done", m.recent_done))
        .set("failures", std::move(failures))
        .set("workers", std::move(workers));
    return frame;
}

Result<Info> decode_info(const Frame &frame) {
    Info m;
    auto tasks = frame.header.member("tasks");
    auto workers = frame.header.list("workers");
    if (!tasks) return fail_from(std::move(tasks));
    if (!workers) return fail_from(std::move(workers));
    Reader in(frame.header), counts(*tasks);
    in.text("id", m.id);
    in.text("engine", m.engine);
    in.text("address", m.address);
    in.natural("uptime", m.uptime_s);
    in.natural("expected", m.expected);
    in.natural("clients", m.clients);
    counts.natural("waiting", m.waiting);
    counts.natural("running", m.running);
    counts.natural("done", m.done);
    counts.natural("failed", m.failed);
    if (auto ok = counts.done(0); !ok) return fail_from(std::move(ok), "\"tasks\"");
    m.began_s = natural_or_0(frame.header, "began");
    m.uptime_ms = natural_or_0(frame.header, "uptime_ms");
    m.retried = natural_or_0(*tasks, "retried");
    m.busy_us = natural_or_0(*tasks, "busy_us");
    if (auto recent = frame.header.member("recent")) {
        m.recent_ms = natural_or_0(*recent, "ms");
        m.recent_done = natural_or_0(*recent, "done");
    }
    if (auto failures = frame.header.list("failures"))
        for (std::size_t n = 0; n < failures->size(); n++) {
            Json row = failures->at(n);
            FailureInfo failure;
            failure.task = read_task(row);
            auto known = find_kind(row.string_or("kind", ""));
            if (known) failure.kind = *known;
            failure.message = row.string_or("message", "");
            failure.worker = row.string_or("worker", "");
            failure.node = row.string_or("node", "");
            failure.tries = natural_or_0(row, "tries");
            m.failures.push_back(std::move(failure));
        }
    for (std::size_t n = 0; n < workers->size(); n++) {
        WorkerInfo worker;
        Json row = workers->at(n);
        Reader members(row);
        read_worker(members, worker.about);
        members.natural("memory", worker.memory);
        members.natural("running", worker.running);
        members.natural("queued", worker.queued);
        members.natural("done", worker.done);
        worker.peak = natural_or_0(row, "peak");
        worker.cpu = natural_or_0(row, "cpu");
        worker.cpu_us = natural_or_0(row, "cpu_us");
        worker.heard_ms = natural_or_0(row, "heard_ms");
        worker.about.concurrency = natural_or_0(row, "concurrency");
        if (auto running = row.list("current"))
            for (std::size_t t = 0; t < running->size(); t++)
                worker.tasks.push_back(read_task(running->at(t)));
        auto whole = members.done(std::move(worker));
        if (!whole) return fail_from(std::move(whole), "\"workers\"");
        m.workers.push_back(std::move(*whole));
    }
    return in.done(std::move(m));
}

Frame encode(const std::vector<Explanation> &tasks) {
    Frame frame = make_frame("explained");
    Json rows = Json::array();
    for (const auto &m : tasks)
        rows.append(task_of(m.task)
                        .set("state", m.state)
                        .set("why", m.why)
                        .set("worker", m.worker)
                        .set("address", m.address)
                        .set("id", m.id)
                        .set("instance", m.instance)
                        .set("tries", m.tries)
                        .set("command", m.command ? 1 : 0)
                        .set("detail", m.detail));
    frame.header.set("tasks", std::move(rows));
    return frame;
}

Result<std::vector<Explanation>> decode_explained(const Frame &frame) {
    auto rows = frame.header.list("tasks");
    if (!rows) return fail_from(std::move(rows));
    std::vector<Explanation> tasks;
    for (std::size_t n = 0; n < rows->size(); n++) {
        Json row = rows->at(n);
        Explanation m;
        m.task = read_task(row);
        m.state = row.string_or("state", "");
        m.why = row.string_or("why", "");
        m.worker = row.string_or("worker", "");
        m.address = row.string_or("address", "");
        m.id = natural_or_0(row, "id");
        m.instance = natural_or_0(row, "instance");
        m.tries = natural_or_0(row, "tries");
        m.command = natural_or_0(row, "command") != 0;
        m.detail = row.string_or("detail", "");
        tasks.push_back(std::move(m));
    }
    return tasks;
}

} // namespace dtask::proto

// SPDX-License-Identifier: Apache-2.0
#include "lib/proto/codec.h"

#include <algorithm>
#include <array>

#include "lib/proto/reader.h"

namespace dtask::proto {

namespace {

constexpr std::array<std::string_view, 10> failure_names{
    "raised", "memory",  "crashed", "cancelled", "too_large",
    "lost",   "missing", "timeout", "unsuited",  "full"};

Json amounts(const Resources &resources) {
    Json object = Json::object();
    for (const auto &[name, amount] : resources) object.set(name.c_str(), amount);
    return object;
}

} // namespace

std::optional<FailureKind> find_kind(std::string_view name) {
    auto known = std::find(failure_names.begin(), failure_names.end(), name);
    if (known == failure_names.end()) return {};
    return static_cast<FailureKind>(known - failure_names.begin());
}

std::string_view name_of(FailureKind kind) { return failure_names[static_cast<std::size_t>(kind)]; }

Frame encode(const Welcome &m) {
    Frame frame = make_frame("welcome");
    frame.header.set("id", m.id)
        .set("engine", m.engine)
        .set("address", m.address)
        .set("expected", m.expected)
        .set("workers", m.workers)
        .set("nthreads", m.nthreads)
        .set("memory_limit", m.memory_limit);
    return frame;
}

Result<Welcome> decode_welcome(const Frame &frame) {
    Welcome m;
    Reader in(frame.header);
    in.text("id", m.id);
    in.text("engine", m.engine);
    in.text("address", m.address);
    in.natural("expected", m.expected);
    in.natural("workers", m.workers);
    in.natural("nthreads", m.nthreads);
    in.natural("memory_limit", m.memory_limit);
    return in.done(std::move(m));
}

Frame encode(const WorkerCount &m) {
    Frame frame = make_frame("workers");
    frame.header.set("n", m.n).set("expected", m.expected);
    return frame;
}

Result<WorkerCount> decode_worker_count(const Frame &frame) {
    WorkerCount m;
    Reader in(frame.header);
    in.natural("n", m.n);
    in.natural("expected", m.expected);
    return in.done(m);
}

void read_worker(Reader &in, Register &m) {
    in.text("name", m.name);
    in.text("node", m.node);
    in.text("address", m.address);
    in.natural("task", m.task);
    in.natural("pid", m.pid);
    in.natural("nthreads", m.nthreads);
    in.natural("memory_limit", m.memory_limit);
}

Json about(const Register &m) {
    return Json::object()
        .set("name", m.name)
        .set("node", m.node)
        .set("task", m.task)
        .set("pid", m.pid)
        .set("nthreads", m.nthreads)
        .set("concurrency", m.concurrency)
        .set("memory_limit", m.memory_limit)
        .set("address", m.address);
}

Frame encode(const Register &m, const char *type) {
    Frame frame{about(m), {}};
    frame.header.set("t", type).set("store", m.store);
    if (!m.resources.empty()) frame.header.set("resources", amounts(m.resources));
    if (!m.without_group.empty()) frame.header.set("without_group", m.without_group);
    return frame;
}

Result<Register> decode_register(const Json &header) {
    Register m;
    Reader in(header);
    read_worker(in, m);
    in.natural("concurrency", m.concurrency);
    if (m.concurrency == 0) in.refuse("\"concurrency\" is 0");
    m.store = header.string_or("store", "");
    m.without_group = header.string_or("without_group", "");
    in.resources(m.resources);
    return in.done(std::move(m));
}

Frame encode(const Unfit &m) {
    Frame frame = make_frame("unfit");
    frame.header.set("task", m.task).set("node", m.node).set("message", m.message);
    return frame;
}

Result<Unfit> decode_unfit(const Frame &frame) {
    Unfit m;
    Reader in(frame.header);
    in.natural("task", m.task);
    in.text("node", m.node);
    in.text("message", m.message);
    return in.done(std::move(m));
}

Frame encode(const Died &m) {
    Frame frame = make_frame("died");
    frame.header.set("name", m.name).set("address", m.address).set("how", m.how);
    return frame;
}

Result<Died> decode_died(const Frame &frame) {
    Died m;
    Reader in(frame.header);
    in.text("name", m.name);
    in.text("address", m.address);
    in.text("how", m.how);
    return in.done(std::move(m));
}

Frame encode(Function m) {
    Frame frame = make_frame("function");
    frame.header.set("f", m.f).set("name", m.name);
    if (m.cpus > 0) frame.header.set("cpus", m.cpus);
    frame.payload = std::move(m.pickled);
    return frame;
}

Result<Function> decode_function(Frame frame) {
    Function m;
    Reader in(frame.header);
    in.natural("f", m.f);
    in.text("name", m.name);
    if (frame.header.has("cpus")) in.natural("cpus", m.cpus);
    m.pickled = std::move(frame.payload);
    return in.done(std::move(m));
}

Frame encode(Submit m) {
    Frame frame = make_frame("submit");
    frame.header.set("f", m.f).set("k", std::move(m.k)).set("len", std::move(m.len));
    if (m.retries > 0) frame.header.set("retries", m.retries);
    if (m.priority != 0) frame.header.set("priority", m.priority);
    if (m.timeout_ms > 0) frame.header.set("timeout", m.timeout_ms);
    if (!m.needs.workers.empty()) {
        Json workers = Json::array();
        for (const auto &name : m.needs.workers) workers.append(Json::text(name));
        frame.header.set("workers", std::move(workers));
    }
    if (!m.needs.resources.empty()) frame.header.set("resources", amounts(m.needs.resources));
    frame.payload = std::move(m.payload);
    return frame;
}

Result<Submit> decode_submit(Frame frame) {
    Submit m;
    Reader in(frame.header);
    in.natural("f", m.f);
    in.column("k", m.k);
    in.lengths(m.len, frame.payload);
    in.terms(m);
    m.payload = std::move(frame.payload);
    return in.done(std::move(m));
}

Result<Graph> decode_graph(Frame frame) {
    Graph m;
    std::uint64_t complete = 0;
    Reader in(frame.header);
    in.natural("g", m.graph);
    in.natural("complete", complete);
    in.column("f", m.f);
    in.column("k", m.k);
    in.column("want", m.wanted);
    in.groups("inputs", m.inputs, "in", m.in);
    in.lengths(m.len, frame.payload);
    m.complete = complete != 0;
    in.terms(m);
    m.payload = std::move(frame.payload);
    return in.done(std::move(m));
}

Frame encode(Run m) {
    Frame frame = make_frame("run");
    frame.header.set("f", std::move(m.f))
        .set("k", std::move(m.k))
        .set("i", std::move(m.i))
        .set("len", std::move(m.len));
    if (!m.inputs.empty())
        frame.header.set("inputs", std::move(m.inputs)).set("in", std::move(m.in));
    if (!m.held.empty()) frame.header.set("held", std::move(m.held));
    if (!m.timeout.empty()) frame.header.set("timeout", std::move(m.timeout));
    frame.payload = std::move(m.payload);
    return frame;
}

Result<Run> decode_run(Frame frame) {
    Run m;
    Reader in(frame.header);
    in.column("f", m.f);
    in.column("k", m.k);
    in.column("i", m.i);
    in.lengths(m.len, frame.payload);
    if (frame.header.has("inputs")) in.groups("inputs", m.inputs, "in", m.in);
    if (frame.header.has("held")) in.beside("held", m.held, m.in);
    if (frame.header.has("timeout")) in.column("timeout", m.timeout);
    m.payload = std::move(frame.payload);
    return in.done(std::move(m));
}

Frame encode(Done m) {
    Frame frame = make_frame("done");
    frame.header.set("k", std::move(m.k))
        .set("i", std::move(m.i))
        .set("us", std::move(m.us))
        .set("raised", std::move(m.raised))
        .set("len", std::move(m.len));
    if (!m.stored.empty()) frame.header.set("stored", std::move(m.stored));
    frame.payload = std::move(m.payload);
    return frame;
}

Result<Done> decode_done(Frame frame) {
    Done m;
    Reader in(frame.header);
    in.column("k", m.k);
    in.column("i", m.i);
    in.column("us", m.us);
    in.column("raised", m.raised);
    if (frame.header.has("stored")) in.column("stored", m.stored);
    in.lengths(m.len, frame.payload);
    m.payload = std::move(frame.payload);
    return in.done(std::move(m));
}

Frame encode(Results m) {
    Frame frame = make_frame("done");
    frame.header.set("k", std::move(m.k)).set("len", std::move(m.len));
    frame.payload = std::move(m.payload);
    return frame;
}

Frame encode(Failure m) {
    Frame frame = make_frame("failed");
    frame.header.set("k", m.k)
        .set("i", m.i)
        .set("kind", name_of(m.kind))
        .set("message", m.message)
        .set("worker", m.worker)
        .set("node", m.node)
        .set("signal", m.signal)
        .set("exit", m.exit)
        .set("limit", m.limit)
        .set("peak", m.peak)
        .set("tries", m.tries);
    frame.payload = std::move(m.payload);
    return frame;
}

Result<Failure> decode_failure(Frame frame) {
    Failure m;
    std::string kind;
    Reader in(frame.header);
    in.natural("k", m.k);
    in.natural("i", m.i);
    in.text("kind", kind);
    in.text("message", m.message);
    in.natural("signal", m.signal);
    in.natural("exit", m.exit);
    in.natural("limit", m.limit);
    in.natural("peak", m.peak);
    auto known = find_kind(kind);
    if (!known) in.refuse("\"kind\" is not a kind of failure");
    m.kind = known.value_or(FailureKind::crashed);
    m.payload = std::move(frame.payload);
    return in.done(std::move(m));
}

Frame encode_refs(const char *type, const Refs &refs) {
    Frame frame = make_frame(type);
    frame.header.set("k", refs.k).set("i", refs.i);
    return frame;
}

Result<Refs> decode_refs(const Frame &frame) {
    Refs m;
    Reader in(frame.header);
    in.column("k", m.k);
    in.column("i", m.i);
    return in.done(std::move(m));
}

Frame encode(const Stored &m) {
    Frame frame = make_frame("stored");
    frame.header.set("k", m.k).set("d", m.data).set("size", m.size).set("at", m.at);
    return frame;
}

Result<Stored> decode_stored(const Frame &frame) {
    Stored m;
    Reader in(frame.header);
    in.natural("k", m.k);
    in.natural("d", m.data);
    in.natural("size", m.size);
    in.text("at", m.at);
    return in.done(std::move(m));
}

Frame encode(const LostValue &m) {
    Frame frame = make_frame("lost");
    frame.header.set("k", m.k).set("at", m.at);
    return frame;
}

Result<LostValue> decode_lost_value(const Frame &frame) {
    LostValue m;
    Reader in(frame.header);
    in.natural("k", m.k);
    in.text("at", m.at);
    return in.done(std::move(m));
}

Frame encode(const Fetch &m) {
    Frame frame = make_frame("fetch");
    frame.header.set("d", m.data).set("size", m.size).set("from", m.from);
    return frame;
}

Result<Fetch> decode_fetch(const Frame &frame) {
    Fetch m;
    Reader in(frame.header);
    in.natural("d", m.data);
    in.natural("size", m.size);
    in.text("from", m.from);
    return in.done(std::move(m));
}

Frame encode(const Unfetched &m) {
    Frame frame = make_frame("unfetched");
    frame.header.set("d", m.data).set("message", m.message);
    if (m.full) frame.header.set("full", std::uint64_t{1});
    return frame;
}

Result<Unfetched> decode_unfetched(const Frame &frame) {
    Unfetched m;
    Reader in(frame.header);
    in.natural("d", m.data);
    in.text("message", m.message);
    m.full = frame.header.integer_or("full", 0) != 0;
    return in.done(std::move(m));
}

Frame encode(const Output &m) {
    Frame frame = make_frame("output");
    frame.header.set("k", m.k).set("i", m.i).set("out", std::uint64_t{m.output.size()});
    frame.payload = m.output + m.errors;
    return frame;
}

Result<Output> decode_output(const Frame &frame) {
    Output m;
    std::uint64_t out = 0;
    Reader in(frame.header);
    in.natural("k", m.k);
    in.natural("i", m.i);
    in.natural("out", out);
    if (out > frame.payload.size()) return fail("\"out\" is more than the payload");
    m.output = frame.payload.substr(0, out);
    m.errors = frame.payload.substr(out);
    return in.done(std::move(m));
}

Frame encode_data(const char *type, const Column &data) {
    Frame frame = make_frame(type);
    frame.header.set("d", data);
    return frame;
}

Result<Column> decode_data(const Frame &frame) { return frame.header.column("d"); }

Frame encode_datum(const char *type, std::uint64_t data) {
    Frame frame = make_frame(type);
    frame.header.set("d", data);
    return frame;
}

Result<std::uint64_t> decode_datum(const Frame &frame) { return frame.header.natural("d"); }

Frame encode_bye(std::string_view why, std::uint64_t code) {
    Frame frame = make_frame("bye");
    frame.header.set("why", why).set("code", code);
    return frame;
}

Frame encode_here(std::uint64_t task) {
    Frame frame = make_frame("here");
    frame.header.set("task", task);
    return frame;
}

Frame encode_shutdown(std::uint64_t code) {
    Frame frame = make_frame("shutdown");
    frame.header.set("code", code);
    return frame;
}

} // namespace dtask::proto

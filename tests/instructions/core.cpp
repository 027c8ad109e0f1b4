// SPDX-License-Identifier: Apache-2.0
//
// A fixed sequence of events for the scheduler's pure core, whose instructions
// tests/instructions/run counts: the same on every machine, however busy.
//
//   core map N    N tasks, by workers that answer at once
//   core tree N   N leaves of a graph, joined in pairs
//
// A Comm that keeps what the workers are to do stands for the sockets; messages
// are encoded and read as on the wire, since that is a scheduler's work, too.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/strings.h"
#include "lib/proto/codec.h"
#include "runtime/scheduler/reactor.h"

using namespace dtask;
using namespace dtask::scheduler;

namespace {

constexpr std::size_t workers = 16, tasks_of_a_message = 512;
constexpr std::string_view arguments = "the arguments of one task", value = "its value";

[[noreturn]] void give_up(const std::string &why) {
    std::fprintf(stderr, "core: %s\n", why.c_str());
    std::exit(1);
}

/// The frame as its reader has it.
proto::Frame sent(proto::Frame frame) {
    auto head = proto::encode_head(frame);
    auto header = proto::decode_header(std::string_view(head).substr(proto::lengths_size));
    if (!header) give_up(header.error().text());
    return {std::move(*header), std::move(frame.payload)};
}

template <class T> T must(Result<T> result) {
    if (!result) give_up(result.error().text());
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}

class StillClock final : public Clock {
public:
    std::int64_t now_us() const override { return 1; }
};

class Cluster final : private Comm {
public:
    Cluster() {
        for (std::size_t n = 0; n < workers; n++) {
            proto::Register about;
            about.task = n;
            about.node = "n" + std::to_string(n);
            (void)on_new_worker(reactor(), about);
        }
        client_ = on_new_client(reactor());
        must(on_function(reactor(), client_, {1, "f", "pickled"}));
    }

    void map(std::size_t tasks) {
        for (std::uint64_t key = 1; key <= tasks;) {
            proto::Submit submit;
            auto frame = proto::make_frame("submit");
            for (; key <= tasks && submit.k.size() < tasks_of_a_message; key++)
                submit.k.push_back(key);
            for (std::size_t n = 0; n < submit.k.size(); n++) frame.payload += arguments;
            frame.header.set("f", 1)
                .set("len", proto::Column(submit.k.size(), arguments.size()))
                .set("k", std::move(submit.k));
            must(on_submit(reactor(), client_, must(proto::decode_submit(sent(std::move(frame))))));
        }
        work(tasks);
    }

    void tree(std::size_t leaves) {
        std::vector<std::uint64_t> level;
        std::uint64_t key = 0, tasks = 2 * leaves - 1;
        proto::Graph graph;
        auto add = [&](const proto::Column &inputs) {
            graph.k.push_back(++key);
            graph.inputs.push_back(inputs.size());
            graph.in.insert(graph.in.end(), inputs.begin(), inputs.end());
            graph.wanted.push_back(key == tasks);
            if (key == tasks || graph.k.size() == tasks_of_a_message) {
                auto count = graph.k.size();
                auto frame = proto::make_frame("graph");
                for (std::size_t n = 0; n < count; n++) frame.payload += arguments;
                frame.header.set("g", 1)
                    .set("complete", key == tasks ? 1 : 0)
                    .set("f", proto::Column(count, 1))
                    .set("k", graph.k)
                    .set("want", graph.wanted)
                    .set("inputs", graph.inputs)
                    .set("in", graph.in)
                    .set("len", proto::Column(count, arguments.size()));
                must(on_graph(reactor(), client_,
                              must(proto::decode_graph(sent(std::move(frame))))));
                graph = {};
            }
            return key;
        };
        while (level.size() < leaves) level.push_back(add({}));
        while (level.size() > 1) {
            std::vector<std::uint64_t> next;
            for (std::size_t n = 0; n + 1 < level.size(); n += 2)
                next.push_back(add({level[n], level[n + 1]}));
            if (level.size() % 2) next.push_back(level.back());
            level = std::move(next);
        }
        work(1);
    }

private:
    Reactor reactor() { return {core_, *this, clock_}; }

    // Each turn all workers answer what they have, one message each.
    void work(std::size_t wanted) {
        while (results_ < wanted) {
            dispatch(reactor());
            auto turn = std::exchange(runs_, {});
            if (turn.empty()) give_up("nothing is left to do, and results are missing");
            for (auto &[worker, run] : turn) {
                auto got = must(proto::decode_run(sent(proto::encode(std::move(run)))));
                proto::Done done;
                done.us.assign(got.k.size(), 1);
                done.raised.assign(got.k.size(), 0);
                done.len.assign(got.k.size(), value.size());
                for (std::size_t n = 0; n < got.k.size(); n++) done.payload += value;
                done.k = std::move(got.k);
                done.i = std::move(got.i);
                must(on_done(reactor(), worker,
                             must(proto::decode_done(sent(proto::encode(std::move(done)))))));
            }
        }
        if (!core_.tasks.empty()) give_up("tasks are left");
    }

    void run(WorkerId to, FunctionId f, TaskId task, InstanceId instance, std::uint32_t,
             std::span<const Input> inputs, std::string_view args) override {
        auto &message = runs_[to];
        auto before = message.payload.size();
        message.inputs.push_back(inputs.size());
        for (const auto &input : inputs) {
            message.in.push_back(input.bytes.size());
            message.payload += input.bytes;
        }
        message.payload += args;
        message.f.push_back(f.value);
        message.k.push_back(task.value);
        message.i.push_back(instance.value);
        message.len.push_back(message.payload.size() - before);
    }
    void result(ClientId, std::uint64_t, std::string_view) override { results_++; }
    void failed(ClientId, proto::Failure failure) override { give_up(failure.message); }
    void output(ClientId, const proto::Output &) override {}
    void function(WorkerId, FunctionId, std::string_view, std::string_view,
                  std::uint64_t) override {}
    void retract(WorkerId, TaskId, InstanceId) override {} // all is answered in the same turn
    void kill(WorkerId, TaskId, InstanceId) override {}
    void forget(WorkerId, FunctionId) override {}
    void fetch(WorkerId, TaskId, std::uint64_t, std::string_view) override {}
    void free(WorkerId, TaskId) override {}
    void drop_worker(WorkerId) override {}
    void stored(ClientId, std::uint64_t, TaskId, std::uint64_t, std::string_view) override {}
    void workers_changed(proto::WorkerCount) override {}

    Core core_;
    StillClock clock_;
    ClientId client_;
    std::map<WorkerId, proto::Run> runs_;
    std::size_t results_ = 0;
};

} // namespace

int main(int argc, char **argv) {
    std::string shape = argc == 3 ? argv[1] : "";
    auto tasks = argc == 3 ? parse_uint(argv[2], 100'000'000) : std::nullopt;
    if (!tasks || *tasks == 0 || (shape != "map" && shape != "tree"))
        give_up("usage: core map|tree TASKS");
    Cluster cluster;
    if (shape == "map")
        cluster.map(*tasks);
    else
        cluster.tree(*tasks);
    return 0;
}

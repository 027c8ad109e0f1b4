// SPDX-License-Identifier: Apache-2.0
//
// The scheduler among clients and workers that say anything at any time: each
// message is made of the fuzzer's bytes, goes through the decoder as from the
// wire, and whoever is refused has gone. After each the core's invariants hold
// (tests/unit/invariants.h), and nothing is sent to those who have gone.
#include "tests/fuzz/target.h"

#include <algorithm>
#include <map>

#include "lib/proto/codec.h"
#include "tests/unit/stage.h"

using namespace dtask;
using namespace dtask::scheduler;
using proto::Frame;

namespace {

constexpr std::size_t most_steps = 300;

class Cluster {
public:
    explicit Cluster(std::string_view bytes) : bytes_(bytes) {}

    void play() {
        for (std::size_t step = 0; !bytes_.empty() && step < most_steps; step++) {
            act(next());
            hear();
            test::check_invariants(stage_.core);
        }
        while (!workers_.empty()) lose_worker(0);
        while (!clients_.empty()) lose_client(0);
        test::check_invariants(stage_.core);
        promise(stage_.core.tasks.empty() && stage_.core.functions.empty());
    }

private:
    unsigned next() {
        if (bytes_.empty()) return 0;
        auto byte = static_cast<unsigned char>(bytes_[0]);
        bytes_.remove_prefix(1);
        return byte;
    }
    /// Small as a rule, and sometimes at the limits.
    std::uint64_t number() {
        auto byte = next();
        if (byte < 0xf0) return byte % 12;
        constexpr std::uint64_t large[]{0xffffffff, std::uint64_t{1} << 32, INT64_MAX,
                                        (std::uint64_t{1} << 62) + 1};
        return large[byte % 4];
    }
    static std::string list(std::size_t count, auto each) {
        std::string text = "[";
        for (std::size_t i = 0; i < count; i++) text += (i ? "," : "") + std::to_string(each());
        return text + "]";
    }
    std::string numbers(std::size_t count) {
        return list(count, [&] { return number(); });
    }
    static std::string member(const char *name, const std::string &value) {
        return std::string(",\"") + name + "\":" + value;
    }
    std::string natural(const char *name) { return member(name, std::to_string(number())); }
    static Frame frame(const char *type, const std::string &members, std::string payload = {}) {
        auto text = std::string("{\"t\":\"") + type + "\"" + members + "}";
        auto header = proto::decode_header(text);
        promise(header);
        return {std::move(*header), std::move(payload)};
    }
    Reactor reactor() { return stage_.reactor(); }

    std::string terms() {
        std::string text;
        auto what = next();
        if (what & 1) text += natural("retries");
        if (what & 2) text += member("priority", std::to_string(int(next()) - 128));
        if (what & 4) text += natural("timeout");
        if (what & 8) text += member("resources", "{\"gpu\":" + std::to_string(number()) + "}");
        if (what & 16) text += member("workers", "[\"n" + std::to_string(number()) + "\"]");
        return text;
    }

    void act(unsigned what) {
        switch (what % 24) {
        case 0: clients_.push_back(stage_.client()); break;
        case 1:
            if (workers_.size() < 8)
                workers_.push_back(stage_.worker(1 + next() % 3, "n" + std::to_string(next() % 3)));
            break;
        case 2: lose_client(next()); break;
        case 3: lose_worker(next()); break;
        case 4: stage_.clock.advance(std::int64_t{next()} * 1'000'000); break;
        case 5: on_tick(reactor()); break;
        case 6: {
            auto unfit = proto::decode_unfit(frame(
                "unfit", member("node", "\"n\"") + member("message", "\"m\"") + natural("task")));
            if (unfit) on_unfit(reactor(), std::move(*unfit));
            break;
        }
        case 7:
        case 8:
        case 9: dispatch(reactor()); break;
        default:
            if (what % 24 < 16)
                from_client(what % 24 - 10);
            else
                from_worker(what % 24 - 16);
        }
    }

    void from_client(unsigned what) {
        if (clients_.empty()) return;
        auto which = next() % clients_.size();
        auto client = clients_[which];
        Result<void> heard;
        auto take = [&](auto message, auto hear) {
            if (message)
                heard = hear(*message);
            else
                heard = fail_from(std::move(message));
        };
        switch (what) {
        case 0: {
            auto function = proto::decode_function(
                frame("function", natural("f") + member("name", "\"f\""), "pickled"));
            take(std::move(function),
                 [&](auto &m) { return on_function(reactor(), client, std::move(m)); });
            break;
        }
        case 1: {
            auto count = next() % 5;
            auto columns = natural("f") + member("k", numbers(count)) +
                           member("len", list(count, [] { return 1; }));
            take(proto::decode_submit(frame("submit", columns + terms(), std::string(count, 'a'))),
                 [&](auto &m) { return on_submit(reactor(), client, m); });
            break;
        }
        case 2: {
            auto count = next() % 5;
            std::size_t all = 0;
            auto counts = list(count, [&] {
                auto inputs = next() % 3;
                all += inputs;
                return inputs;
            });
            auto columns = natural("g") + member("f", numbers(count)) +
                           member("k", numbers(count)) + member("inputs", counts) +
                           member("in", numbers(all)) +
                           member("want", list(count, [&] { return next() % 2; })) +
                           member("len", list(count, [] { return 1; }));
            columns += member("complete", next() % 2 ? "1" : "0");
            take(proto::decode_graph(frame("graph", columns + terms(), std::string(count, 'a'))),
                 [&](auto &m) { return on_graph(reactor(), client, m); });
            break;
        }
        case 3:
        case 4: {
            auto keys = frame("cancel", member("k", numbers(next() % 5))).header.column("k");
            take(std::move(keys), [&](auto &k) -> Result<void> {
                if (what == 3)
                    on_cancel(reactor(), client, k);
                else
                    on_release(reactor(), client, k);
                return {};
            });
            break;
        }
        default:
            take(proto::decode_lost_value(frame(
                     "lost", natural("k") + member("at", "\"w" + std::to_string(number()) + "\""))),
                 [&](auto &m) -> Result<void> {
                     on_lost_value(reactor(), client, m);
                     return {};
                 });
        }
        if (!heard) lose_client(which);
    }

    void from_worker(unsigned what) {
        if (workers_.empty()) return;
        auto which = next() % workers_.size();
        auto worker = workers_[which];
        Result<void> heard;
        switch (what) {
        case 0:
        case 1: heard = done(worker, what == 1); break;
        case 2: heard = failed(worker); break;
        case 3: {
            auto refs = proto::decode_refs(frame("retracted", references(worker, next() % 3)));
            if (refs) on_retracted(reactor(), worker, *refs);
            break;
        }
        case 4: on_fetched(reactor(), worker, fetched(worker)); break;
        case 5: {
            auto data = fetched(worker).value;
            on_unfetched(reactor(), worker, {data, "refused", next() % 2 == 0});
            break;
        }
        case 6: on_stat(reactor(), worker, {.memory = number()}); break;
        default:
            if (next() % 2)
                on_blocked(reactor(), worker, number());
            else
                written(worker);
        }
        if (!heard) lose_worker(which);
    }

    /// `k` and `i`: of what it was sent, or of anything.
    std::string references(WorkerId worker, std::size_t count) {
        std::string k, i;
        for (std::size_t n = 0; n < count; n++) {
            auto which = next();
            auto &runs = sent_[worker];
            std::uint64_t task = number(), instance = number();
            if (which < 0xe0 && !runs.empty()) {
                auto it = runs.begin() + static_cast<std::ptrdiff_t>(which % runs.size());
                task = it->first.value, instance = it->second.value;
                if (which % 2 == 0) runs.erase(it);
            }
            k += (n ? "," : "") + std::to_string(task);
            i += (n ? "," : "") + std::to_string(instance);
        }
        return member("k", "[" + k + "]") + member("i", "[" + i + "]");
    }

    Result<void> done(WorkerId worker, bool stays) {
        auto count = next() % 4;
        auto columns = references(worker, count) + member("us", numbers(count)) +
                       member("raised", list(count, [&] { return next() % 8 == 0; })) +
                       member("len", list(count, [&] { return stays ? 0 : 1; }));
        if (stays) columns += member("stored", list(count, [&] { return number(); }));
        auto message =
            proto::decode_done(frame("done", columns, std::string(stays ? 0 : count, 'v')));
        if (!message) return fail_from(std::move(message));
        return on_done(reactor(), worker, *message);
    }

    Result<void> failed(WorkerId worker) {
        proto::Failure failure;
        constexpr auto kinds = static_cast<unsigned>(proto::FailureKind::full) + 1;
        failure.kind = static_cast<proto::FailureKind>(next() % kinds);
        failure.message = "m";
        auto refs = proto::decode_refs(frame("retracted", references(worker, 1)));
        if (!refs) return fail_from(std::move(refs));
        failure.k = refs->k[0];
        failure.i = refs->i[0];
        // As from the wire, where the decoder has its say.
        auto message = proto::decode_failure(proto::encode(std::move(failure)));
        if (!message) return fail_from(std::move(message));
        return on_failed(reactor(), worker, std::move(*message));
    }

    void written(WorkerId worker) {
        auto refs = proto::decode_refs(frame("retracted", references(worker, 1)));
        if (!refs) return;
        auto message =
            proto::decode_output(proto::encode(proto::Output{refs->k[0], refs->i[0], "a\n", "b"}));
        if (message) on_output(reactor(), worker, std::move(*message));
    }

    TaskId fetched(WorkerId worker) {
        auto which = next();
        const auto &fetches = fetches_[worker];
        if (which >= 0xe0 || fetches.empty()) return TaskId{number()};
        return fetches[which % fetches.size()];
    }

    void lose_client(std::size_t which) {
        if (clients_.empty()) return;
        auto it = clients_.begin() + static_cast<std::ptrdiff_t>(which % clients_.size());
        auto client = *it;
        clients_.erase(it);
        on_client_lost(reactor(), client);
        hear();
    }
    void lose_worker(std::size_t which) {
        if (workers_.empty()) return;
        auto it = workers_.begin() + static_cast<std::ptrdiff_t>(which % workers_.size());
        auto worker = *it;
        workers_.erase(it);
        on_worker_lost(reactor(), worker, "fuzzed");
        hear();
    }

    /// Takes what was sent; only those who are there are sent anything.
    void hear() {
        auto &comm = stage_.comm;
        auto there = [&](const auto &all, auto id) { return std::ranges::count(all, id) == 1; };
        for (const auto &run : comm.take_runs()) {
            if (!there(workers_, run.worker) && !stage_.core.workers.contains(run.worker))
                promise(!"a task for a worker that has gone");
            sent_[run.worker].emplace_back(run.task, run.instance);
        }
        for (const auto &fetch : comm.take_fetches()) fetches_[fetch.worker].push_back(fetch.data);
        for (const auto &value : comm.take_results()) promise(there(clients_, value.client));
        for (const auto &failure : comm.take_failures()) promise(there(clients_, failure.client));
        for (const auto &stored : comm.take_stored()) promise(there(clients_, stored.client));
        comm.take_functions();
        comm.take_retracts();
        comm.take_kills();
        comm.take_forgets();
        comm.take_frees();
        comm.take_counts();
        // The core has lost these already.
        for (auto worker : comm.take_dropped()) std::erase(workers_, worker);
    }

    std::string_view bytes_;
    test::Stage stage_;
    std::vector<ClientId> clients_;
    std::vector<WorkerId> workers_;
    std::map<WorkerId, std::vector<std::pair<TaskId, InstanceId>>> sent_;
    std::map<WorkerId, std::vector<TaskId>> fetches_;
};

} // namespace

DTASK_FUZZ_TARGET(scheduler, bytes) {
    // The checks end the process instead of a test.
    test::before_failure = [](const char *why) {
        std::fprintf(stderr, "%s\n", why);
        std::abort();
    };
    Cluster(bytes).play();
}

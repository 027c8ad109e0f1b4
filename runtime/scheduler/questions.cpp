// SPDX-License-Identifier: Apache-2.0
// What the server is asked by whoever has proved itself: mostly the command `dtask`.
#include "runtime/scheduler/server.h"

#include "lib/base/log.h"
#include "runtime/scheduler/explain.h"

namespace dtask::scheduler {

namespace {

Json list_of(const std::vector<std::string> &texts) {
    Json list = Json::array();
    for (const auto &text : texts) list.append(Json::text(text));
    return list;
}

} // namespace

Result<bool> Server::on_question(Peer &peer, const proto::Frame &frame) {
    auto type = frame.type();
    auto answer = [&](proto::Frame reply) {
        peer.outbox->frame(std::move(reply));
        return true;
    };
    if (type == "info") return answer(proto::encode(info()));
    if (type == "explain") {
        auto text = frame.header.string("task");
        if (!text) return fail_from(std::move(text), type);
        auto name = model::parse_task_name(*text);
        if (!name) return answer(proto::encode(std::vector<proto::Explanation>()));
        return answer(proto::encode(explain(core_, clock_, *name)));
    }
    if (type == "withdraw") {
        bool all = frame.header.integer_or("all", 0) != 0;
        auto names = frame.header.strings("tasks");
        if (!names) return fail_from(std::move(names), type);
        auto done = all ? withdraw_all(reactor()) : withdraw(reactor(), *names);
        log::info(std::to_string(done.count) + " tasks were cancelled by dtask cancel");
        auto reply = proto::make_frame("withdrawn");
        reply.header.set("n", done.count)
            .set("unknown", list_of(done.unknown))
            .set("ambiguous", list_of(done.ambiguous))
            .set("needed", list_of(done.needed));
        return answer(std::move(reply));
    }
    if (type == "log") {
        auto reply = proto::make_frame("log");
        reply.payload = log::recent();
        return answer(std::move(reply));
    }
    if (type == "stop") {
        // The client's launcher has it end, and all else follows from that as ever.
        std::uint64_t told = 0;
        for (auto &[id, other] : peers_)
            if (other.attached && !exit_code_) {
                other.outbox->frame(proto::make_frame("stop"));
                told++;
            }
        stop_asked_ = stop_asked_ || told > 0;
        auto reply = proto::make_frame("stopping");
        reply.header.set("n", told);
        return answer(std::move(reply));
    }
    return false;
}

} // namespace dtask::scheduler

// SPDX-License-Identifier: Apache-2.0
//
// A stream of frames from a peer that holds the token: lengths, headers, and
// every decoder on every frame. What was decoded can be written and read again.
#include "lib/proto/frame.h"
#include "lib/proto/codec.h"
#include "tests/fuzz/target.h"

using namespace dtask;
using namespace dtask::proto;

namespace {

Result<Frame> again(const Frame &frame) {
    auto head = encode_head(frame);
    auto lengths = decode_lengths(head);
    promise(lengths && lengths->payload == frame.payload.size());
    auto header = decode_header(std::string_view(head).substr(lengths_size));
    if (!header) return fail_from(std::move(header));
    return Frame{*header, frame.payload};
}

template <class Message, class Decode> void round_trip(Result<Message> message, Decode decode) {
    if (!message) return;
    auto second = again(encode(std::move(*message)));
    promise(second);
    promise(decode(std::move(*second)));
}

void round_trip(const Result<Refs> &refs) {
    if (!refs) return;
    promise(refs->k.size() == refs->i.size());
    auto second = again(encode_refs("kill", *refs));
    promise(second);
    auto decoded = decode_refs(*second);
    promise(decoded && decoded->k == refs->k && decoded->i == refs->i);
}

void decode_all(const Frame &frame) {
    round_trip(decode_welcome(frame), decode_welcome);
    round_trip(decode_worker_count(frame), decode_worker_count);
    round_trip(decode_register(frame.header), [](Frame f) { return decode_register(f.header); });
    round_trip(decode_unfit(frame), decode_unfit);
    round_trip(decode_function(frame), decode_function);
    round_trip(decode_run(frame), decode_run);
    round_trip(decode_done(frame), decode_done);
    round_trip(decode_failure(frame), decode_failure);
    round_trip(decode_info(frame), decode_info);
    round_trip(decode_stat(frame), decode_stat);
    round_trip(decode_explained(frame), decode_explained);
    round_trip(decode_died(frame), decode_died);
    round_trip(decode_stored(frame), decode_stored);
    round_trip(decode_lost_value(frame), decode_lost_value);
    round_trip(decode_fetch(frame), decode_fetch);
    round_trip(decode_unfetched(frame), decode_unfetched);
    round_trip(decode_output(frame), decode_output);
    round_trip(decode_refs(frame));
    if (auto data = decode_data(frame)) {
        auto second = again(encode_data("free", *data));
        promise(second && decode_data(*second).value() == *data);
    }
    if (auto datum = decode_datum(frame)) {
        auto second = again(encode_datum("get", *datum));
        promise(second && decode_datum(*second).value() == *datum);
    }
    if (auto graph = decode_graph(frame)) {
        auto count = graph->k.size();
        promise(graph->f.size() == count && graph->inputs.size() == count &&
                graph->wanted.size() == count && graph->len.size() == count);
        std::uint64_t inputs = 0;
        for (auto n : graph->inputs) inputs += n;
        promise(inputs == graph->in.size());
        promise(slices(graph->payload, graph->len));
    }
    if (auto submit = decode_submit(frame)) {
        promise(submit->k.size() == submit->len.size());
        auto parts = slices(submit->payload, submit->len);
        promise(parts && parts->size() == submit->k.size());
    }
}

} // namespace

DTASK_FUZZ_TARGET(frame, bytes) {
    while (auto lengths = decode_lengths(bytes)) {
        bytes.remove_prefix(lengths_size);
        // The rest stands for what has not come yet, so that a wrong length is no dead end.
        auto header_bytes = bytes.substr(0, lengths->header);
        bytes.remove_prefix(header_bytes.size());
        auto payload = bytes.substr(0, lengths->payload);
        bytes.remove_prefix(payload.size());
        auto ours = Json::parse(header_bytes), theirs = Json::parse_as_tree(header_bytes);
        promise(ours.has_value() == theirs.has_value());
        promise(!ours || ours->indented() == theirs->indented());
        auto header = decode_header(header_bytes);
        if (!header) return;
        decode_all({*header, std::string(payload)});
    }
}

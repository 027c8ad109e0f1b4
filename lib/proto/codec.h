// SPDX-License-Identifier: Apache-2.0
//
// Codec: messages to frames and back. Decoding checks every member that is
// used, that columns are of one length, and that lengths add up to the payload.
#pragma once

#include "lib/proto/frame.h"
#include "lib/proto/message.h"

namespace dtask::proto {

Frame encode(const Welcome &message);
Frame encode(const WorkerCount &message);
Frame encode(const Register &message, const char *type = "register");
Frame encode(const Unfit &message);
Frame encode(const Died &message);
Frame encode(Function message);
Frame encode(Submit message);
Frame encode(Run message);
Frame encode(Done message);
Frame encode(Results message);
Frame encode(const Stored &message);
Frame encode(const LostValue &message);
Frame encode(const Fetch &message);
Frame encode(const Unfetched &message);
Frame encode(const Output &message);
Frame encode(Failure message);
Frame encode(const Stat &message);
Frame encode(const Info &message);
Frame encode(const std::vector<Explanation> &tasks);
/// Values by their numbers among the workers: `free`.
Frame encode_data(const char *type, const Column &data);
/// One of them: `fetched`, `get`, `gone`.
Frame encode_datum(const char *type, std::uint64_t data);
Frame encode_refs(const char *type, const Refs &refs);
/// code: how the step ends where the cluster itself failed (lib/base/exit_codes.h); else 0.
Frame encode_bye(std::string_view why, std::uint64_t code = 0);
Frame encode_shutdown(std::uint64_t code);
Frame encode_here(std::uint64_t task);

Result<Welcome> decode_welcome(const Frame &frame);
Result<WorkerCount> decode_worker_count(const Frame &frame);
Result<Register> decode_register(const Json &header);
Result<Unfit> decode_unfit(const Frame &frame);
Result<Died> decode_died(const Frame &frame);
Result<Function> decode_function(Frame frame);
Result<Submit> decode_submit(Frame frame);
Result<Graph> decode_graph(Frame frame);
Result<Run> decode_run(Frame frame);
Result<Done> decode_done(Frame frame);
Result<Failure> decode_failure(Frame frame);
Result<Stat> decode_stat(const Frame &frame);
Result<std::vector<Explanation>> decode_explained(const Frame &frame);
Result<Info> decode_info(const Frame &frame);
Result<Refs> decode_refs(const Frame &frame);
Result<Stored> decode_stored(const Frame &frame);
Result<LostValue> decode_lost_value(const Frame &frame);
Result<Fetch> decode_fetch(const Frame &frame);
Result<Unfetched> decode_unfetched(const Frame &frame);
Result<Output> decode_output(const Frame &frame);
Result<Column> decode_data(const Frame &frame);
Result<std::uint64_t> decode_datum(const Frame &frame);

} // namespace dtask::proto

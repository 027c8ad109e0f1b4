// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/report.h"

#include <algorithm>

#include <sys/wait.h>

#include "lib/base/spawn.h"
#include "lib/base/strings.h"
#include "lib/proto/frame.h"

namespace dtask::worker {

namespace {

constexpr std::size_t most_text = 300;

proto::Failure failure_of(const Call &call, proto::FailureKind kind, std::string message) {
    proto::Failure failure;
    failure.k = call.task;
    failure.i = call.instance;
    failure.kind = kind;
    failure.message = std::move(message);
    return failure;
}

} // namespace

void add_outcome(proto::Done &done, const Call &call, std::uint64_t us, bool raised,
                 std::string_view value, std::uint64_t stored) {
    if (stored > 0) done.stored.resize(done.k.size()); // the others' are 0
    done.k.push_back(call.task);
    done.i.push_back(call.instance);
    done.us.push_back(us);
    done.raised.push_back(raised ? 1 : 0);
    done.len.push_back(value.size());
    done.payload += value;
    if (stored > 0 || !done.stored.empty()) done.stored.push_back(stored);
}

proto::Failure too_large(const Call &call, std::string_view size) {
    return failure_of(call, proto::FailureKind::too_large,
                      "its result has " + std::to_string(parse_uint(size).value_or(0)) +
                          " bytes; at most " + format_size(proto::max_value) + " can be returned");
}

proto::Failure missing(const Call &call, std::string_view why) {
    std::string text(why.substr(0, most_text));
    std::ranges::replace_if(
        text, [](char c) { return c < ' ' || c > '~'; }, '?');
    return failure_of(call, proto::FailureKind::missing, "an input could not be opened: " + text);
}

proto::Failure not_stored(const Call &call, const std::string &why) {
    return failure_of(call, proto::FailureKind::crashed,
                      "its value is not where its process said: " + why);
}

proto::Failure overdue(const Call &call) {
    return failure_of(call, proto::FailureKind::timeout,
                      "ran longer than " + std::to_string(call.timeout_ms) + " ms");
}

proto::Failure over_own_limit(const Call &call, std::uint64_t limit, std::uint64_t peak) {
    auto failure = failure_of(call, proto::FailureKind::memory,
                              "passed its own memory limit of " + format_size(limit) + " (peak " +
                                  format_size(peak) + ")");
    failure.limit = limit;
    failure.peak = peak;
    return failure;
}

proto::Failure died(const Call &call, int status, const std::optional<MemoryKill> &memory) {
    auto failure = failure_of(call, proto::FailureKind::crashed,
                              "the process that ran it ended with " + describe_status(status));
    failure.signal = WIFSIGNALED(status) ? static_cast<std::uint64_t>(WTERMSIG(status)) : 0;
    failure.exit = WIFEXITED(status) ? static_cast<std::uint64_t>(WEXITSTATUS(status)) : 0;
    if (!memory) return failure;
    failure.kind = proto::FailureKind::memory;
    failure.limit = memory->limit;
    failure.peak = memory->peak;
    auto limit = format_size(memory->limit), peak = format_size(memory->peak);
    failure.message = memory->below_limit
                          ? "had " + peak + " of the worker's " + limit +
                                " when the step's tasks had used up all its memory on the node"
                          : "passed the worker's memory limit of " + limit + " (peak " + peak + ")";
    return failure;
}

} // namespace dtask::worker

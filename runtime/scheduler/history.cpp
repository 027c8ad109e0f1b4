// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/history.h"

#include <utility>

#include "lib/base/spawn.h"
#include "lib/model/command.h"
#include "lib/proto/error_text.h"

namespace dtask::scheduler {

namespace {

// Where a character of several bytes is cut, all of it goes: messages are UTF-8.
bool continues(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

void keep_begin(std::string &text, std::size_t most) {
    if (text.size() <= most) return;
    while (most > 0 && continues(text[most])) most--;
    text.resize(most);
    text += "...";
}

void keep_end(std::string &text, std::size_t most) {
    if (text.size() <= most) return;
    auto from = text.size() - most;
    while (from < text.size() && continues(text[from])) from++;
    text.erase(0, from);
}

} // namespace

void History::add(std::deque<Failed> &list, Failed failed) {
    keep_begin(failed.message, most_message);
    keep_end(failed.detail, most_detail);
    list.push_back(std::move(failed));
    if (list.size() > most_failures) list.pop_front();
}

void History::add(Failed failed) {
    if (failures_.size() == most_failures) forgotten_++;
    add(failures_, std::move(failed));
}

void History::add_retry(Failed failed) { add(retries_, std::move(failed)); }

void History::tick(std::int64_t now_us, std::uint64_t done) {
    ticks_.push_back({now_us, done});
    if (ticks_.size() > most_ticks) ticks_.pop_front();
}

History::Recent History::recent(std::int64_t now_us, std::uint64_t done) const {
    if (ticks_.empty()) return {};
    return {now_us - ticks_.front().at_us, done - ticks_.front().done};
}

Failed describe(std::string name, bool command, const proto::Failure &failure) {
    Failed failed;
    failed.key = failure.k;
    failed.kind = failure.kind;
    // Messages to clients begin with the name, which stands beside it here.
    failed.message = failure.message;
    if (failed.message.starts_with(name + ": ")) failed.message.erase(0, name.size() + 2);
    failed.name = std::move(name);
    failed.worker = failure.worker;
    failed.node = failure.node;
    failed.tries = failure.tries;
    if (command) {
        auto ended = model::Ended::decode(failure.payload);
        if (!ended) return failed;
        failed.detail = std::move(ended->errors);
        if (failure.kind == proto::FailureKind::raised)
            failed.message = ended->signal != 0 ? describe_status(static_cast<int>(ended->signal))
                                                : "exit code " + std::to_string(ended->exit);
    } else if (failure.kind == proto::FailureKind::raised) {
        auto error = proto::read_error(failure.payload);
        if (!error) return failed;
        failed.message = error->type + (error->message.empty() ? "" : ": " + error->message);
        failed.detail = std::move(error->traceback);
    }
    return failed;
}

} // namespace dtask::scheduler

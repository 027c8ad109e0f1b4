// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/fetcher.h"

#include <algorithm>
#include <cstdio>

#include <fcntl.h>
#include <unistd.h>

#include "lib/base/net.h"

namespace dtask::worker {

namespace {

constexpr std::size_t most_at_once = 8;
constexpr unsigned most_closed = 6;
constexpr std::int64_t first_pause_ms = 100; // doubled each time

bool is_full(int error) { return error == ENOSPC || error == EDQUOT; }

} // namespace

Fetcher::Fetcher(ev::Loop &loop, const proto::Token &token, Store &store, Callbacks callbacks,
                 std::int64_t patience)
    : loop_(loop), token_(token), store_(store), callbacks_(std::move(callbacks)),
      patience_ms_(patience) {}

Fetcher::~Fetcher() {
    for (auto &[data, transfer] : transfers_)
        if (!transfer.path.empty()) ::unlink(transfer.path.c_str());
}

void Fetcher::fetch(const proto::Fetch &what) {
    if (!store_.keeps())
        return callbacks_.on_unfetched(what.data, "this worker keeps no values", false);
    if (store_.has(what.data)) return callbacks_.on_fetched(what.data);
    bool comes = transfers_.contains(what.data) ||
                 std::ranges::any_of(waiting_, [&](auto &w) { return w.data == what.data; });
    if (comes) return;
    incoming_ += what.size;
    waiting_.push_back(what);
    begin_waiting();
}

void Fetcher::begin_waiting() {
    while (!waiting_.empty() && transfers_.size() < most_at_once) {
        auto what = std::move(waiting_.front());
        waiting_.pop_front();
        auto &transfer = transfers_[what.data];
        transfer.what = std::move(what);
        auto begun = begin(transfer);
        if (begun) continue;
        auto data = transfer.what.data;
        bool full = transfer.full;
        auto why = (full ? "" : transfer.what.from + ": ") + begun.error().text();
        end(data);
        callbacks_.on_unfetched(data, why, full);
    }
}

Result<void> Fetcher::begin(Transfer &transfer) {
    auto size = transfer.what.size;
    bool fits = store_.has_room(size) && (!callbacks_.take_memory || callbacks_.take_memory(size));
    transfer.on_disk = store_.can_spill() && !fits;
    auto room = take_room(transfer);
    if (!room && store_.can_spill() && !transfer.on_disk) {
        transfer.on_disk = true; // others have taken what was free of memory
        room = take_room(transfer);
    }
    if (!room && transfer.full) return fail(store_.room_text());
    if (!room) return room;
    return connect(transfer);
}

Result<void> Fetcher::connect(Transfer &transfer) {
    auto connecting = ev::begin_connect(transfer.what.from);
    if (!connecting) return fail_from(std::move(connecting));
    auto data = transfer.what.data;
    transfer.patience = std::make_unique<ev::Timer>(
        loop_, [this, data] { fail_with(data, "nothing came for too long"); });
    transfer.patience->set(patience_ms_);
    transfer.link = proto::Link::initiate(
        loop_, std::move(*connecting), port_of(transfer.what.from), token_, proto::Role::worker,
        {.on_open =
             [this, data](proto::Role) {
                 transfers_.at(data).link->send(proto::encode_datum("get", data));
             },
         .on_frame = [this, data](const proto::Frame &frame) { on_frame(data, frame); },
         .on_closed = [this, data](bool proven,
                                   const std::string &why) { on_closed(data, proven, why); }});
    return {};
}

void Fetcher::on_closed(std::uint64_t data, bool proven, const std::string &why) {
    auto &transfer = transfers_.at(data);
    if (proven || !transfer.link->closed_by_peer() || transfer.closed == most_closed)
        return fail_with(data, why.empty() ? "closed by the peer" : why);
    transfer.again = std::make_unique<ev::Timer>(loop_, [this, data] {
        auto &again = transfers_.at(data);
        if (auto begun = connect(again); !begun) fail_with(data, begun.error().text());
    });
    transfer.again->set(first_pause_ms << transfer.closed++);
    // It is in the call stack: freed after this turn.
    loop_.post([link = std::shared_ptr<proto::Link>(std::move(transfer.link))] {});
}

// A file of the whole size: where there is no room for it, none of it is sent.
Result<void> Fetcher::take_room(Transfer &transfer) {
    auto path = (transfer.on_disk ? store_.spilled_path_of(transfer.what.data)
                                  : store_.path_of(transfer.what.data)) +
                ".fetch";
    auto file = open_file(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (!file) return fail_from(std::move(file));
    auto size = static_cast<off_t>(transfer.what.size);
    transfer.full = false;
    if (size > 0 && ::fallocate(file->get(), 0, 0, size) < 0 && errno != EOPNOTSUPP) {
        transfer.full = is_full(errno);
        auto error = fail_errno(path);
        ::unlink(path.c_str());
        return error;
    }
    transfer.path = path;
    transfer.file = std::move(*file);
    return {};
}

void Fetcher::on_frame(std::uint64_t data, const proto::Frame &frame) {
    auto &transfer = transfers_.at(data);
    auto taken = take_piece(transfer, frame);
    if (!taken) return fail_with(data, taken.error().text());
    transfer.patience->set(patience_ms_);
    if (transfer.received < transfer.what.size) return;
    if (auto settled = settle(transfer); !settled) return fail_with(data, settled.error().text());
    end(data);
    callbacks_.on_fetched(data);
    begin_waiting();
}

Result<void> Fetcher::take_piece(Transfer &transfer, const proto::Frame &frame) {
    if (frame.type() == "gone") return fail("it is not there");
    if (frame.type() != "data") return fail("an answer of type " + frame.type());
    auto size = frame.header.natural("size");
    if (!size) return fail_from(std::move(size));
    if (*size != transfer.what.size || frame.payload.size() > *size - transfer.received)
        return fail("it has not the " + std::to_string(transfer.what.size) + " bytes expected");
    if (frame.payload.empty() && *size > 0) return fail("a piece without bytes");
    if (auto done = write_all(transfer.file.get(), frame.payload); !done) {
        transfer.full = is_full(errno); // where room cannot be taken before
        return fail_from(std::move(done), transfer.path);
    }
    transfer.received += frame.payload.size();
    incoming_ -= frame.payload.size();
    return {};
}

Result<void> Fetcher::settle(Transfer &transfer) {
    const auto &what = transfer.what;
    if (store_.has(what.data)) return {}; // made here meanwhile; end() removes what came
    auto path = transfer.on_disk ? store_.spilled_path_of(what.data) : store_.path_of(what.data);
    if (::rename(transfer.path.c_str(), path.c_str()) < 0) return fail_errno(path);
    transfer.path.clear();
    auto added = transfer.on_disk ? store_.add_spilled(what.data, what.size)
                                  : store_.add(what.data, what.size, Store::Origin::fetched);
    if (!added) ::unlink(path.c_str());
    return added;
}

void Fetcher::fail_with(std::uint64_t data, const std::string &why) {
    bool full = transfers_.at(data).full;
    auto text = full ? store_.room_text() : transfers_.at(data).what.from + ": " + why;
    end(data);
    callbacks_.on_unfetched(data, text, full);
    begin_waiting();
}

void Fetcher::drop(std::uint64_t data) {
    if (transfers_.contains(data)) {
        end(data);
        return begin_waiting();
    }
    auto found =
        std::ranges::find_if(waiting_, [&](const auto &what) { return what.data == data; });
    if (found == waiting_.end()) return;
    incoming_ -= found->size;
    waiting_.erase(found);
}

void Fetcher::end(std::uint64_t data) {
    auto found = transfers_.find(data);
    // It may be in the call stack: freed after this turn.
    auto transfer = std::make_shared<Transfer>(std::move(found->second));
    transfers_.erase(found);
    incoming_ -= transfer->what.size - transfer->received;
    if (!transfer->path.empty()) ::unlink(transfer->path.c_str());
    if (transfer->patience) transfer->patience->cancel();
    if (transfer->again) transfer->again->cancel();
    if (transfer->link) transfer->link->close();
    loop_.post([transfer] {});
}

} // namespace dtask::worker

// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/spill.h"

#include <algorithm>
#include <cstdio>

#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "lib/base/log.h"

namespace dtask::worker {

namespace {

constexpr std::size_t piece = 8u << 20; // copied in one turn
constexpr std::int64_t rest_ms = 30'000;
constexpr std::uint64_t least_percent = 10;

} // namespace

Spill::Spill(ev::Loop &loop, Store &store, std::function<void()> on_idle)
    : store_(store), on_idle_(std::move(on_idle)), turn_(loop, [this] { step(); }),
      rest_(loop, [this] { resting_ = false; }) {}

void Spill::make_room(std::uint64_t usage, std::uint64_t limit) {
    if (!store_.can_spill() || resting_) return;
    std::uint64_t over = limit > 0 && usage > most(limit) ? usage - most(limit) : 0;
    wanted_ = all_ ? store_.bytes_in_memory() : std::max(over, store_.shortage());
    if (!move_) begin();
}

std::uint64_t Spill::most(std::uint64_t limit) const { return limit / 10 * percent_ / 10; }

bool Spill::give_way() {
    if (!store_.can_spill() || resting_ || store_.bytes_in_memory() == 0) return false;
    percent_ = std::max(percent_ / 2, least_percent);
    all_ = true;
    wanted_ = store_.bytes_in_memory();
    if (!move_) begin();
    return move_.has_value();
}

void Spill::begin() {
    if (wanted_ == 0) return;
    auto value = store_.oldest();
    if (!value) return;
    Move move{*value, store_.spilled_path_of(value->data) + ".part", {}, {}};
    auto from = open_file(store_.path_of(value->data), O_RDONLY);
    if (!from) return rest(from.error().text());
    auto to = open_file(move.part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (!to) return rest(to.error().text());
    move.from = std::move(*from);
    move.to = std::move(*to);
    move_ = std::move(move);
    turn_.set(0);
}

void Spill::next() {
    begin();
    if (move_) return;
    all_ = false;
    if (on_idle_) on_idle_();
}

void Spill::step() {
    if (!move_) return;
    if (!store_.holds(move_->value)) { // freed, or made again
        ::unlink(move_->part.c_str());
        move_.reset();
        return next();
    }
    if (move_->copied < move_->value.size) {
        auto done = copy_piece();
        if (done) return turn_.set(0);
        rest(done.error().text());
    } else {
        finish();
    }
    if (!move_) next();
}

Result<void> Spill::copy_piece() {
    auto left = std::min<std::uint64_t>(piece, move_->value.size - move_->copied);
    while (left > 0) {
        ssize_t n = ::sendfile(move_->to.get(), move_->from.get(), nullptr, left);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno(move_->part);
        if (n == 0) return fail(store_.path_of(move_->value.data) + ": shorter than it was");
        left -= static_cast<std::uint64_t>(n);
        move_->copied += static_cast<std::uint64_t>(n);
    }
    return {};
}

void Spill::finish() {
    auto value = move_->value;
    auto path = store_.spilled_path_of(value.data);
    if (::rename(move_->part.c_str(), path.c_str()) < 0)
        return rest(std::string(path) + ": " + std::strerror(errno));
    move_.reset();
    if (auto done = store_.spilled(value); !done) {
        ::unlink(path.c_str());
        return rest(done.error().text());
    }
    log::debug("value " + std::to_string(value.data) + " was moved to " + path);
    told_ = false;
    wanted_ -= std::min(wanted_, value.size);
}

void Spill::rest(const std::string &why) {
    if (move_) ::unlink(move_->part.c_str());
    move_.reset();
    wanted_ = 0;
    resting_ = true;
    rest_.set(rest_ms);
    if (!std::exchange(told_, true))
        log::warning("values stay in memory, they cannot be moved to the scratch directory: " +
                     why);
}

} // namespace dtask::worker

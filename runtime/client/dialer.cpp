// SPDX-License-Identifier: Apache-2.0
#include "runtime/client/dialer.h"

#include <algorithm>

#include "lib/base/net.h"

namespace dtask::client {

namespace {

// For one candidate to prove itself. A scheduler that is slow is left in vain, so it is doubled
// each round; the first one, which is the right one as a rule, gets the whole of it, others a part.
constexpr std::int64_t least_patience_ms = 1'000, most_patience_ms = 8'000;
constexpr std::int64_t patience_part = 4;
// Between rounds. A step's tasks begin together: the scheduler is there some milliseconds after
// those who look for it, and what they wait too long is a part of what they have waited.
constexpr std::int64_t longest_pause_ms = 500;
constexpr std::int64_t widening_pause_ms = 10; // before that it is not up yet, wherever it will be

} // namespace

Dialer::Dialer(ev::Loop &loop, const proto::Token &token, proto::Role role,
               std::vector<std::string> candidates, std::int64_t deadline_ms, Callbacks callbacks)
    : loop_(loop), token_(token), role_(role), candidates_(std::move(candidates)),
      callbacks_(std::move(callbacks)), retry_(loop, [this] { attempt(); }),
      patience_(loop, [this] { next("no answer from " + address()); }), deadline_(loop, [this] {
          over_ = true;
          retry_.cancel();
          patience_.cancel();
          if (link_) link_->close();
          callbacks_.on_failed(!version_failure_.empty() ? version_failure_
                               : last_failure_.empty()   ? "no answer"
                                                         : last_failure_);
      }) {
    deadline_.set(deadline_ms);
    retry_.set(0);
}

void Dialer::send(proto::Frame frame) {
    if (connected_) link_->send(std::move(frame));
}

std::string Dialer::local_host() const {
    // Who finds the scheduler on its own machine is found where the scheduler is.
    return beside_ ? host_of(address()) : link_->local_host();
}

Result<Fd> Dialer::connect() {
    if (!std::exchange(beside_, !beside_))
        if (auto fd = ev::connect_local(port_of(address()))) return fd;
    beside_ = false;
    return ev::begin_connect(address());
}

void Dialer::attempt() {
    auto fd = connect();
    if (!fd) return next(fd.error().text());
    patience_.set(current_ == 0 ? patience_ms_
                                : std::max(patience_ms_ / patience_part, least_patience_ms));
    link_ = proto::Link::initiate(
        loop_, std::move(*fd), port_of(address()), token_, role_,
        {.on_open =
             [this](proto::Role) {
                 patience_.cancel();
                 deadline_.cancel();
                 connected_ = true;
                 callbacks_.on_connected();
             },
         .on_frame = [this](proto::Frame frame) { callbacks_.on_frame(std::move(frame)); },
         .on_closed =
             [this](bool proven, const std::string &why) {
                 if (!proven) {
                     auto text = address() + ": " + (why.empty() ? "closed by the peer" : why);
                     if (link_->is_other_version()) version_failure_ = text;
                     return next(text);
                 }
                 connected_ = false;
                 over_ = true;
                 callbacks_.on_lost(why.empty() ? "closed by the scheduler" : why);
             }});
}

// Called from the link's own callbacks: it is replaced in attempt(), a turn later.
void Dialer::next(const std::string &why) {
    if (over_) return;
    last_failure_ = why;
    patience_.cancel();
    if (link_) link_->close();
    if (beside_ || ++current_ < round_size_) return retry_.set(0);
    current_ = 0;
    if (pause_ms_ >= widening_pause_ms) round_size_ = std::min(round_size_ * 2, candidates_.size());
    retry_.set(pause_ms_);
    pause_ms_ = std::min(pause_ms_ + pause_ms_ / 2, longest_pause_ms);
    patience_ms_ = std::min(patience_ms_ * 2, most_patience_ms);
}

std::vector<std::string> addresses(const std::string &host,
                                   const std::vector<std::uint16_t> &ports) {
    std::vector<std::string> all;
    all.reserve(ports.size());
    for (auto port : ports) all.push_back(join_address(host, port));
    return all;
}

} // namespace dtask::client

// SPDX-License-Identifier: Apache-2.0
//
// Dialer: finds the scheduler of the step and holds the connection to it.
//
// It tries candidates (`host:port`, numeric) in order, in rounds: the first of
// them, then the first two, four and so on, since the scheduler is nearly
// always at the first and may only be slow to start. A candidate that refuses,
// is silent for a second or cannot prove the token is passed over. The first
// that proves it is the scheduler; what it sends goes to `on_frame`. Where a
// process of this user listens beside the candidate's port on this machine
// (ev::connect_local) that one is asked first: it is mostly the same scheduler.
//
//   searching ──found──▶ connected ──lost──▶ (on_lost)
//       └──deadline──▶ (on_failed)
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/ev/loop.h"
#include "lib/proto/link.h"

namespace dtask::client {

class Dialer {
public:
    struct Callbacks {
        std::function<void()> on_connected;
        std::function<void(proto::Frame)> on_frame;
        std::function<void(const std::string &why)> on_lost;
        std::function<void(const std::string &why)> on_failed;
    };

    /// Searches until `deadline_ms` from now. `candidates` is not empty.
    Dialer(ev::Loop &loop, const proto::Token &token, proto::Role role,
           std::vector<std::string> candidates, std::int64_t deadline_ms, Callbacks callbacks);

    bool connected() const { return connected_; }
    /// The candidate that is tried, or was found.
    const std::string &address() const { return candidates_[current_]; }
    void send(proto::Frame frame);
    /// While connected: a scheduler whose machine answers nothing for `limit_ms` is lost.
    void watch(std::int64_t limit_ms) { link_->watch(limit_ms); }
    /// Numeric host of this end; only while connected.
    std::string local_host() const;

private:
    Result<Fd> connect();
    void attempt();
    void next(const std::string &why);

    ev::Loop &loop_;
    proto::Token token_;
    proto::Role role_;
    std::vector<std::string> candidates_;
    Callbacks callbacks_;
    bool connected_ = false;
    bool over_ = false;
    bool beside_ = false; // the candidate's port is tried, or was found, on this machine
    std::size_t current_ = 0, round_size_ = 1;
    std::int64_t pause_ms_ = 4, patience_ms_ = 1'000; // of this round
    std::string last_failure_;
    std::string version_failure_; ///< of a candidate of another version, which explains more
    ev::Timer retry_, patience_, deadline_;
    std::unique_ptr<proto::Link> link_;
};

/// `host` with each of `ports`; an IPv6 host gets its brackets.
std::vector<std::string> addresses(const std::string &host,
                                   const std::vector<std::uint16_t> &ports);

} // namespace dtask::client

// SPDX-License-Identifier: Apache-2.0
//
// Link: an authenticated connection that carries frames.
//
//   proving ──proof right──▶ open ──▶ closed
//      └──proof wrong, 10 s over, peer gone──▶ closed
//
// on_open comes once, before any frame; on_closed comes once and last, and not
// after close() or destruction. A peer that breaks the frame rules is closed.
// The owner must not destroy a Link inside its callbacks (use Loop::post).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "lib/base/clock.h"
#include "lib/ev/loop.h"
#include "lib/ev/stream.h"
#include "lib/proto/auth.h"
#include "lib/proto/frame.h"

namespace dtask::proto {

class Link {
public:
    struct Callbacks {
        std::function<void(Role peer)> on_open; ///< for an initiator, its own role
        std::function<void(Frame frame)> on_frame;
        /// `proven` is false where the peer failed or left before its proof.
        std::function<void(bool proven, const std::string &why)> on_closed;
        /// Some of what was sent has left: pending() is less than it was.
        std::function<void()> on_sent = {};
    };

    static constexpr std::int64_t proof_deadline_ms = 10'000; ///< given less only by tests

    static std::unique_ptr<Link> accept(ev::Loop &loop, Fd connection, const Token &token,
                                        Callbacks callbacks,
                                        std::int64_t deadline_ms = proof_deadline_ms);
    /// `connecting` as from ev::begin_connect, to `port`.
    static std::unique_ptr<Link> initiate(ev::Loop &loop, Fd connecting, std::uint16_t port,
                                          const Token &token, Role role, Callbacks callbacks,
                                          std::int64_t deadline_ms = proof_deadline_ms);

    /// Queues a frame; dropped where the link is not open.
    void send(Frame frame);
    /// Bytes of frames that the kernel does not have yet.
    std::size_t pending() const { return stream_.pending(); }
    bool open() const { return state_ == State::open; }
    /// An initiator was closed because its peer speaks another version of the protocol.
    bool is_other_version() const { return other_version_; }
    /// The peer closed it of its own accord, for on_closed.
    bool closed_by_peer() const { return stream_.closed_by_peer(); }
    std::string local_host() const { return stream_.local_host(); }
    /// From now on closes a peer whose machine answers nothing for `limit_ms`: one that was
    /// switched off, or whose network was cut. What a process does plays no part in it.
    void watch(std::int64_t limit_ms);
    /// Nothing is called back any more.
    void close();

private:
    enum class State { proving, open, closed };

    Link(ev::Loop &loop, Fd fd, std::variant<Initiator, Acceptor> proof, Role role,
         Callbacks callbacks, std::int64_t deadline_ms);
    void on_data();
    Result<bool> step_initiator(const Initiator &initiator);
    Result<bool> step_acceptor(Acceptor &acceptor);
    Result<bool> step_frame();
    void become_open(Role role);
    void look(std::int64_t limit_ms);
    void end(const std::string &why);

    ev::Loop &loop_;
    Callbacks callbacks_;
    State state_ = State::proving;
    bool answered_ = false; // an acceptor has sent its half
    bool other_version_ = false;
    std::string refused_; ///< why an acceptor will not have its peer, which was told so
    Role role_;
    std::variant<Initiator, Acceptor> proof_;
    ev::Timer deadline_;
    ev::Stream stream_;
    SteadyClock clock_;
    std::int64_t looked_us_ = 0, awake_us_ = 0; ///< of watch(): last look; no gap since then
    std::optional<ev::Ticker> watch_;
};

} // namespace dtask::proto

// SPDX-License-Identifier: Apache-2.0
//
// Stream: bytes in and out of a connected socket. It owns the descriptor.
//
// libevent's bufferevent is not used: it reads 4 KiB at a time whatever one
// asks for, which costs a factor of ten on large results. Input is one
// contiguous buffer, so that a frame can be looked at where it lies; output is
// a queue of chunks that leaves with one writev at the end of the turn.
//
// Input comes to the loop's scratch, and only what is left there after on_data
// is kept in a buffer of the stream's own: one that idles holds none.
//
// After on_closed nothing more is called. The owner must not destroy a Stream
// inside its callbacks (use Loop::post).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "lib/base/fd.h"
#include "lib/ev/loop.h"

namespace dtask::ev {

class Stream {
public:
    struct Callbacks {
        std::function<void()> on_data; ///< more bytes in the input than before
        /// The peer is gone; `why` is empty for an orderly end of file.
        std::function<void(const std::string &why)> on_closed;
        /// Some of the output has left: pending() is less than it was.
        std::function<void()> on_sent = {};
    };

    /// Takes a connected socket, or one that is still connecting: what is written
    /// goes out once it is connected, a failure arrives as on_closed.
    Stream(Loop &loop, Fd fd, Callbacks callbacks);
    Stream(const Stream &) = delete;
    Stream &operator=(const Stream &) = delete;

    /// The number of bytes that can be looked at.
    std::size_t available() const { return end_ - begin_; }
    /// The first `n` ≤ available() bytes, valid until the next callback.
    std::string_view peek(std::size_t n) const { return {base() + begin_, n}; }
    std::string take(std::size_t n);
    void drop(std::size_t n);
    /// That the owner waits for `n` bytes in all: room is made for them at once.
    void expect(std::size_t n);

    void write(std::string_view data);
    /// As write(), without a copy where the data are large.
    void write(std::string data);

    /// Bytes that were written and that the kernel does not have yet. Whoever sends
    /// much waits with more of it for on_sent.
    std::size_t pending() const { return pending_; }

    /// Reads what has arrived already, at once.
    void pull() { on_readable(); }

    /// It was the peer that closed the connection, for on_closed: neither the network nor we.
    bool closed_by_peer() const { return closed_by_peer_; }

    /// Numeric host of this end of a TCP connection.
    std::string local_host() const;

    /// Has an idle TCP peer's machine asked, so that it is heard each `seconds` while it lives.
    void keep_alive(int seconds);
    /// Milliseconds since the peer's machine acknowledged anything; 0 where it is no TCP peer.
    std::int64_t unheard_ms() const;

    /// Tells the peer that nothing more will come; to be called once all has been sent.
    void finish();

    /// No callback comes any more, not even on_closed; what was not sent is dropped.
    void silence();

private:
    void on_readable();
    void on_writable();
    void flush();
    void fail(int error);
    const char *base() const { return borrowed_ ? loop_.scratch().bytes.get() : input_.get(); }
    void keep(std::size_t room);

    Loop &loop_;
    Fd fd_;
    Callbacks callbacks_;
    bool closed_ = false, closed_by_peer_ = false;
    int write_error_ = 0;           ///< told once the input has ended
    std::unique_ptr<char[]> input_; ///< its bytes begin_..end_ are input, the rest is room
    std::size_t room_ = 0;          ///< of input_; 0: there is none
    bool borrowed_ = false;         ///< the input is in the loop's scratch, within on_data
    std::size_t begin_ = 0, end_ = 0;
    std::deque<std::string> output_;
    std::size_t sent_ = 0; ///< of the first chunk
    std::size_t pending_ = 0;
    Readable readable_;
    Writable writable_;
    bool blocked_ = false; ///< the kernel took less than there was: writable_ is awaited
    EndOfTurn flush_;
};

/// Begins a TCP connection to `host:port` (numeric host; IPv6 in brackets).
/// The returned descriptor is non-blocking and not connected yet: it becomes
/// readable or writable when it is, or has failed.
Result<Fd> begin_connect(const std::string &address);

/// Connects to the socket beside TCP port `port` of this machine (Listener::bind_local), if
/// there is one and it is a process of this user that listens.
Result<Fd> connect_local(std::uint16_t port);

} // namespace dtask::ev

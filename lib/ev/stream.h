// SPDX-License-Identifier: Apache-2.0
//
// Stream: bytes in and out of a connected socket, buffered (libevent's
// bufferevent). It owns the descriptor. After on_closed nothing more is
// called; the owner destroys the Stream outside of its callbacks (Loop::post).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "lib/base/fd.h"
#include "lib/ev/loop.h"

struct bufferevent;

namespace dtask::ev {

class Stream {
public:
    struct Callbacks {
        std::function<void()> on_data;      ///< more bytes in the input than before
        /// The peer is gone; `why` is empty for an orderly end of file.
        std::function<void(const std::string &why)> on_closed;
    };

    /// Takes a connected socket, or one that is still connecting: what is written
    /// goes out once it is connected, a failure arrives as on_closed.
    Stream(Loop &loop, Fd fd, Callbacks callbacks);
    Stream(const Stream &) = delete;
    Stream &operator=(const Stream &) = delete;
    ~Stream();

    /// The number of bytes that can be looked at.
    std::size_t available() const;
    /// The first `n` ≤ available() bytes, valid until the input is touched again.
    std::string_view peek(std::size_t n) const;
    std::string take(std::size_t n);
    void drop(std::size_t n);

    void write(std::string_view data);
    /// As write(), without a copy where the data are large.
    void write(std::string data);

    /// Numeric host of this end of a TCP connection.
    std::string local_host() const;

    /// No callback comes any more, not even on_closed.
    void silence();

private:
    struct FreeBuffer {
        void operator()(bufferevent *b) const;
    };

    Callbacks callbacks_;
    bool closed_ = false;
    std::unique_ptr<bufferevent, FreeBuffer> buffer_;
};

/// Begins a TCP connection to `host:port` (numeric host; IPv6 in brackets).
/// The returned descriptor is non-blocking and not connected yet: it becomes
/// readable or writable when it is, or has failed.
Result<Fd> begin_connect(const std::string &address);

} // namespace dtask::ev

// SPDX-License-Identifier: Apache-2.0
//
// Listener: a TCP port on which connections are accepted, or the Unix-domain
// socket beside one, which costs those on the same machine less. Where the process
// runs out of descriptors it says so once for all its listeners, and stops
// accepting for a moment instead of spinning: who comes meanwhile waits in the
// kernel's queue.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "lib/base/fd.h"
#include "lib/ev/loop.h"

struct evconnlistener;

namespace dtask::ev {

class Listener {
public:
    using OnAccept = std::function<void(Fd connection, std::string peer)>;

    /// Binds `host` (numeric; empty = every address of the machine) and `port`
    /// (0 = any free one).
    static Result<std::unique_ptr<Listener>> bind(Loop &loop, const std::string &host,
                                                  std::uint16_t port, OnAccept on_accept);
    /// Binds the socket beside TCP port `port`; fails where another process has it.
    static Result<std::unique_ptr<Listener>> bind_local(Loop &loop, std::uint16_t port,
                                                        OnAccept on_accept);
    ~Listener();

    std::uint16_t port() const { return port_; }

private:
    struct FreeListener {
        void operator()(evconnlistener *l) const;
    };

    static Result<std::unique_ptr<Listener>> start(Loop &loop, Fd bound, OnAccept on_accept);
    explicit Listener(Loop &loop, OnAccept on_accept);
    void on_error(int error);

    OnAccept on_accept_;
    std::uint16_t port_ = 0;
    std::unique_ptr<evconnlistener, FreeListener> listener_;
    Timer rest_;
};

} // namespace dtask::ev

// SPDX-License-Identifier: Apache-2.0
//
// Door: the worker's own listener. Whoever proves the step's token may ask it
// who it is (`ping`), and what it has logged or a command has written (`log`); workers and clients
// may have the values that the worker keeps (`get`). Everything else is closed. `dtask status
// --ping` uses it to tell whether the workers can be reached over the network of the tasks.
//
// A value goes out in pieces, as its reader takes them: what is queued for one
// connection is bounded, however large the value is.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "lib/base/ids.h"
#include "lib/ev/listener.h"
#include "lib/proto/codec.h"
#include "lib/proto/link.h"

namespace dtask::worker {

class Door {
public:
    struct Host {
        std::function<proto::Register()> describe; ///< what a ping is answered with
        /// The file of a value, or why it cannot be had. Not set: there are none.
        std::function<Result<Fd>(std::uint64_t data)> open_value = {};
        /// The end of what a command that runs has written, of that instance; nothing where it
        /// does not run here. Not set: no commands run.
        std::function<std::optional<std::string>(std::uint64_t task, std::uint64_t instance)>
            output_of = {};
    };

    static Result<std::unique_ptr<Door>> open(ev::Loop &loop, const proto::Token &token,
                                              const std::string &address, Host host);
    std::uint16_t port() const { return listener_->port(); }

private:
    /// A value on its way out; size and left in bytes.
    struct Sending {
        Fd file;
        std::uint64_t size = 0, left = 0;
    };
    struct Visitor {
        std::unique_ptr<proto::Link> link;
        bool proven = false, may_get = false;
        std::deque<std::uint64_t> asked = {}; ///< not begun yet
        std::optional<Sending> sending = {};
    };

    Door(ev::Loop &loop, const proto::Token &token, Host host)
        : loop_(loop), token_(token), host_(std::move(host)) {}
    void on_accept(Fd connection, const std::string &peer);
    void on_open(ConnectionId id, proto::Role role);
    void on_frame(ConnectionId id, const proto::Frame &frame);
    void show_log(Visitor &visitor, const proto::Frame &frame);
    void serve(ConnectionId id);
    bool begin_next(Visitor &visitor);
    Result<void> send_piece(Visitor &visitor);
    void leave(ConnectionId id);

    ev::Loop &loop_;
    proto::Token token_;
    Host host_;
    std::unordered_map<ConnectionId, Visitor> visitors_;
    std::size_t proven_ = 0; ///< of them
    std::uint64_t last_connection_ = 0, refused_ = 0;
    std::unique_ptr<ev::Listener> listener_;
};

} // namespace dtask::worker

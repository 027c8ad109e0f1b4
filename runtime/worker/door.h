// SPDX-License-Identifier: Apache-2.0
//
// Door: the worker's own listener. Whoever proves the step's token may ask it
// who it is (`ping`); everything else is closed. `dtask status --ping` uses it
// to tell whether the workers can be reached over the network of the tasks.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "lib/base/ids.h"
#include "lib/ev/listener.h"
#include "lib/proto/codec.h"
#include "lib/proto/link.h"

namespace dtask::worker {

class Door {
public:
    /// `describe` gives what a ping is answered with.
    static Result<std::unique_ptr<Door>> open(ev::Loop &loop, const proto::Token &token,
                                              const std::string &host,
                                              std::function<proto::Register()> describe);
    std::uint16_t port() const { return listener_->port(); }

private:
    Door(ev::Loop &loop, const proto::Token &token, std::function<proto::Register()> describe)
        : loop_(loop), token_(token), describe_(std::move(describe)) {}
    void on_accept(Fd connection, const std::string &peer);
    void leave(ConnectionId id);

    ev::Loop &loop_;
    proto::Token token_;
    std::function<proto::Register()> describe_;
    std::unordered_map<ConnectionId, std::unique_ptr<proto::Link>> links_;
    std::uint64_t last_connection_ = 0, refused_ = 0;
    std::unique_ptr<ev::Listener> listener_;
};

} // namespace dtask::worker

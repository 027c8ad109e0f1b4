// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/door.h"

#include "lib/base/log.h"

namespace dtask::worker {

namespace {

constexpr std::size_t most_connections = 64;

} // namespace

Result<std::unique_ptr<Door>> Door::open(ev::Loop &loop, const proto::Token &token,
                                         const std::string &host,
                                         std::function<proto::Register()> describe) {
    std::unique_ptr<Door> door(new Door(loop, token, std::move(describe)));
    auto listener = ev::Listener::bind(loop, host, 0, [d = door.get()](Fd c, std::string peer) {
        d->on_accept(std::move(c), peer);
    });
    if (!listener) return fail_from(std::move(listener));
    door->listener_ = std::move(*listener);
    return door;
}

void Door::on_accept(Fd connection, const std::string &peer) {
    if (links_.size() >= most_connections) return; // closed by going out of scope
    ConnectionId id{++last_connection_};
    links_[id] = proto::Link::accept(
        loop_, std::move(connection), token_,
        {.on_open = [](proto::Role) {},
         .on_frame =
             [this, id](proto::Frame frame) {
                 if (frame.type() == "ping")
                     links_.at(id)->send(proto::encode(describe_(), "pong"));
                 else
                     leave(id);
             },
         .on_closed =
             [this, id, peer](bool proven, const std::string &why) {
                 if (!proven && ++refused_ == 1)
                     log::warning("refused a connection from " + peer + ": " +
                                  (why.empty() ? "closed before its proof" : why) +
                                  "; further ones are only counted");
                 leave(id);
             }});
}

void Door::leave(ConnectionId id) {
    auto found = links_.find(id);
    if (found == links_.end()) return;
    // It may be in the call stack: freed after this turn.
    std::shared_ptr<proto::Link> link = std::move(found->second);
    links_.erase(found);
    link->close();
    loop_.post([link] {});
}

} // namespace dtask::worker

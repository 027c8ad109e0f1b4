// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/door.h"

#include <algorithm>

#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/log.h"

namespace dtask::worker {

namespace {

constexpr std::size_t most_strangers = 64;
constexpr std::size_t most_proven = 1024;
constexpr std::size_t most_asked = 1024;      // values, of one connection
constexpr std::size_t piece = 512u << 10;     // stays in the caches of who copies it
constexpr std::size_t most_queued = 2u << 20; // bytes, of one connection

} // namespace

Result<std::unique_ptr<Door>> Door::open(ev::Loop &loop, const proto::Token &token,
                                         const std::string &address, Host host) {
    std::unique_ptr<Door> door(new Door(loop, token, std::move(host)));
    auto listener =
        ev::Listener::bind(loop, address, 0, [d = door.get()](Fd c, const std::string &peer) {
            d->on_accept(std::move(c), peer);
        });
    if (!listener) return fail_from(std::move(listener));
    door->listener_ = std::move(*listener);
    return door;
}

void Door::on_accept(Fd connection, const std::string &peer) {
    if (visitors_.size() - proven_ >= most_strangers) return; // closed by going out of scope
    ConnectionId id{++last_connection_};
    visitors_[id].link = proto::Link::accept(
        loop_, std::move(connection), token_,
        {.on_open = [this, id](proto::Role role) { on_open(id, role); },
         .on_frame = [this, id](const proto::Frame &frame) { on_frame(id, frame); },
         .on_closed =
             [this, id, peer](bool proven, const std::string &why) {
                 if (!proven && ++refused_ == 1)
                     log::warning("refused a connection from " + peer + ": " +
                                  (why.empty() ? "closed before its proof" : why) +
                                  "; further ones are only counted");
                 leave(id);
             },
         .on_sent = [this, id] { serve(id); }});
}

void Door::on_open(ConnectionId id, proto::Role role) {
    if (proven_ >= most_proven) return leave(id);
    auto &visitor = visitors_.at(id);
    visitor.proven = true;
    visitor.may_get = role == proto::Role::worker || role == proto::Role::client;
    proven_++;
}

void Door::on_frame(ConnectionId id, const proto::Frame &frame) {
    auto &visitor = visitors_.at(id);
    if (frame.type() == "ping") return visitor.link->send(proto::encode(host_.describe(), "pong"));
    if (frame.type() == "log") return show_log(visitor, frame);
    auto data = proto::decode_datum(frame);
    if (frame.type() != "get" || !data || !visitor.may_get || visitor.asked.size() >= most_asked)
        return leave(id);
    visitor.asked.push_back(*data);
    serve(id);
}

// Of a task, `found` tells whether it runs here.
void Door::show_log(Visitor &visitor, const proto::Frame &frame) {
    auto reply = proto::make_frame("log");
    auto task = frame.header.natural("task"), instance = frame.header.natural("instance");
    std::optional<std::string> text;
    if (!task || !instance)
        text = log::recent();
    else if (host_.output_of)
        text = host_.output_of(*task, *instance);
    reply.header.set("found", text ? 1 : 0);
    reply.payload = std::move(text).value_or("");
    if (visitor.link->pending() < most_queued) visitor.link->send(std::move(reply));
}

// As much as may be queued; called again when some of it has left.
void Door::serve(ConnectionId id) {
    auto found = visitors_.find(id);
    if (found == visitors_.end()) return;
    auto &visitor = found->second;
    while (visitor.link->pending() + piece <= most_queued) {
        if (!visitor.sending && !begin_next(visitor)) return;
        if (!visitor.sending) continue; // it was not here
        if (auto sent = send_piece(visitor); !sent) {
            log::warning("a value cannot be sent: " + sent.error().text());
            return leave(id);
        }
    }
}

// False where nothing more is asked for.
bool Door::begin_next(Visitor &visitor) {
    if (visitor.asked.empty()) return false;
    auto data = visitor.asked.front();
    visitor.asked.pop_front();
    auto file = host_.open_value ? host_.open_value(data) : Result<Fd>(fail("no values are kept"));
    struct stat about {};
    if (!file || ::fstat(file->get(), &about) < 0) {
        visitor.link->send(proto::encode_datum("gone", data));
        return true;
    }
    auto size = static_cast<std::uint64_t>(about.st_size);
    visitor.sending = {std::move(*file), size, size};
    return true;
}

Result<void> Door::send_piece(Visitor &visitor) {
    auto &sending = *visitor.sending;
    auto frame = proto::make_frame("data");
    frame.header.set("size", sending.size);
    frame.payload.resize(std::min<std::uint64_t>(piece, sending.left));
    for (std::size_t got = 0; got < frame.payload.size();) {
        ssize_t n =
            ::read(sending.file.get(), frame.payload.data() + got, frame.payload.size() - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno("read");
        if (n == 0) return fail("it is shorter than it was");
        got += static_cast<std::size_t>(n);
    }
    sending.left -= frame.payload.size();
    if (sending.left == 0) visitor.sending.reset();
    visitor.link->send(std::move(frame));
    return {};
}

void Door::leave(ConnectionId id) {
    auto found = visitors_.find(id);
    if (found == visitors_.end()) return;
    // It may be in the call stack: freed after this turn.
    std::shared_ptr<proto::Link> link = std::move(found->second.link);
    if (found->second.proven) proven_--;
    visitors_.erase(found);
    link->close();
    loop_.post([link] {});
}

} // namespace dtask::worker

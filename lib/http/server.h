// SPDX-License-Identifier: Apache-2.0
//
// Server: answers GET requests over HTTP/1.1, for a few viewers and against many
// strangers. Who is who the handler says: an answer is `trusted` where whoever
// asked has shown that he may.
//
//   reading ──head whole──▶ answering ──sent, trusted──▶ idle ──a byte──▶ reading
//      │                        └──sent, a stranger──▶ draining
//      └──it took too long, or is no request──▶ draining ──a second, peer gone──▶ closed
//
// Bounds: a head has 8 KiB and must be whole `request_ms` after its first byte,
// or after the connection was made; an answer must be taken in `send_ms`; a
// trusted connection may be idle for `idle_ms`; a stranger gets one answer. Of
// `connections` at most, the oldest of a stranger gives way to a new one; where all
// are trusted the new one is closed. One request at a time is answered on each.
//
// Draining: what still comes is thrown away, so that the kernel does not
// take the answer back from a peer that has more to send.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/ev/listener.h"
#include "lib/ev/stream.h"
#include "lib/http/request.h"

namespace dtask::http {

struct Response {
    int status = 200;
    std::string type = "text/plain; charset=utf-8";
    std::string body = {};
    std::vector<std::pair<std::string, std::string>> headers = {};
    bool trusted = false;
};

struct Limits {
    std::size_t connections = 64;
    std::int64_t request_ms = 10'000, send_ms = 30'000, idle_ms = 75'000;
};

class Server {
public:
    using Handler = std::function<Response(const Request &)>;

    /// Takes the first of `ports` that is free at `host` (numeric; empty: all addresses).
    static Result<std::unique_ptr<Server>> listen(ev::Loop &loop, const std::string &host,
                                                  const std::vector<std::uint16_t> &ports,
                                                  Handler handler, Limits limits = {});
    Server(const Server &) = delete;
    Server &operator=(const Server &) = delete;
    ~Server();

    std::uint16_t port() const { return listener_->port(); }
    std::size_t connections() const { return connections_.size(); }

private:
    enum class State { reading, answering, idle, draining };
    struct Connection {
        explicit Connection(ev::Loop &loop, std::function<void()> late)
            : timer(loop, std::move(late)) {}
        State state = State::reading;
        bool trusted = false;
        bool keep = false; ///< after the answer
        std::unique_ptr<ev::Stream> stream;
        ev::Timer timer;
    };
    using Place = std::list<Connection>::iterator; ///< oldest first

    Server(ev::Loop &loop, Handler handler, Limits limits);
    void on_accept(Fd connection);
    void on_data(Place place);
    void on_late(Place place);
    void answer(Place place, std::string_view head);
    void send(Place place, const Response &response);
    void on_sent(Place place);
    void drain(Place place);
    void close(Place place);

    ev::Loop &loop_;
    Handler handler_;
    Limits limits_;
    std::list<Connection> connections_;
    std::list<Connection> closed_; ///< freed at the end of the turn
    ev::EndOfTurn free_closed_;
    std::unique_ptr<ev::Listener> listener_;
};

} // namespace dtask::http

// SPDX-License-Identifier: Apache-2.0
#include "lib/http/server.h"

#include <algorithm>

namespace dtask::http {

namespace {

constexpr std::int64_t drain_ms = 1'000;

} // namespace

Server::Server(ev::Loop &loop, Handler handler, Limits limits)
    : loop_(loop), handler_(std::move(handler)), limits_(limits),
      free_closed_(loop, [this] { closed_.clear(); }) {}

Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::listen(ev::Loop &loop, const std::string &host,
                                               const std::vector<std::uint16_t> &ports,
                                               Handler handler, Limits limits) {
    std::unique_ptr<Server> self(new Server(loop, std::move(handler), limits));
    std::string why = "no port to try";
    for (auto port : ports) {
        auto listener = ev::Listener::bind(loop, host, port,
                                           [s = self.get()](Fd connection, const std::string &) {
                                               s->on_accept(std::move(connection));
                                           });
        if (listener) {
            self->listener_ = std::move(*listener);
            return self;
        }
        why = listener.error().text();
    }
    return fail("none of " + std::to_string(ports.size()) + " ports is free; the last: " + why);
}

void Server::on_accept(Fd connection) {
    if (connections_.size() >= limits_.connections) {
        auto stranger = std::ranges::find(connections_, false, &Connection::trusted);
        if (stranger == connections_.end()) return; // closed as it goes out of scope
        close(stranger);
    }
    auto place = connections_.end();
    auto at = std::make_shared<Place>();
    place = connections_.emplace(place, loop_, [this, at] { on_late(*at); });
    *at = place;
    place->stream = std::make_unique<ev::Stream>(
        loop_, std::move(connection),
        ev::Stream::Callbacks{.on_data = [this, place] { on_data(place); },
                              .on_closed = [this, place](const std::string &) { close(place); },
                              .on_sent = [this, place] { on_sent(place); }});
    place->timer.set(limits_.request_ms);
}

void Server::on_data(Place place) {
    auto &c = *place;
    if (c.state == State::draining) return c.stream->drop(c.stream->available());
    if (c.state == State::idle) {
        c.state = State::reading;
        c.timer.set(limits_.request_ms);
    }
    // While one is answered the next may have come, but no more than a head.
    auto data = c.stream->peek(std::min(c.stream->available(), most_head + 1));
    if (c.state == State::answering) {
        if (data.size() > most_head) close(place);
        return;
    }
    if (auto size = head_size(data); size > 0 && size <= most_head)
        return answer(place, data.substr(0, size));
    if (data.size() > most_head)
        send(place, {.status = 431, .body = "the request's head has more than 8 KiB\n"});
}

void Server::answer(Place place, std::string_view head) {
    Request request;
    int status = parse(head, request);
    place->stream->drop(head.size());
    if (status == 405)
        return send(place, {.status = 405,
                            .body = "GET only: the page changes nothing\n",
                            .headers = {{"Allow", "GET"}}});
    if (status != 200)
        return send(place, {.status = status, .body = std::string(reason(status)) + '\n'});
    auto response = handler_(request);
    place->keep = request.keep_alive && response.trusted;
    place->trusted = response.trusted;
    send(place, response);
}

void Server::send(Place place, const Response &response) {
    auto &c = *place;
    c.state = State::answering;
    if (response.status >= 400 && response.status != 404) c.keep = false;
    std::string text = "HTTP/1.1 " + std::to_string(response.status) + ' ';
    text.append(reason(response.status)).append("\r\nContent-Type: ").append(response.type);
    text += "\r\nContent-Length: " + std::to_string(response.body.size());
    text += "\r\nConnection: ";
    text += c.keep ? "keep-alive" : "close";
    for (const auto &[name, value] : response.headers)
        text.append("\r\n").append(name).append(": ").append(value);
    text += "\r\n\r\n";
    text += response.body;
    c.timer.set(limits_.send_ms);
    c.stream->write(std::move(text));
}

void Server::on_sent(Place place) {
    auto &c = *place;
    if (c.state != State::answering || c.stream->pending() > 0) return;
    if (!c.keep) return drain(place);
    c.state = State::idle;
    c.timer.set(limits_.idle_ms);
    if (c.stream->available() > 0) on_data(place);
}

void Server::drain(Place place) {
    auto &c = *place;
    c.state = State::draining;
    c.stream->drop(c.stream->available());
    c.stream->finish();
    c.timer.set(drain_ms);
}

void Server::on_late(Place place) {
    if (place->state != State::reading || place->stream->available() == 0) return close(place);
    place->keep = false;
    send(place, {.status = 408, .body = "the request was not whole in time\n"});
}

void Server::close(Place place) {
    place->stream->silence();
    place->timer.cancel();
    closed_.splice(closed_.end(), connections_, place);
    free_closed_.set();
}

} // namespace dtask::http

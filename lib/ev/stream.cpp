// SPDX-License-Identifier: Apache-2.0
#include "lib/ev/stream.h"

#include <cstdlib>
#include <cstring>

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace dtask::ev {

namespace {

constexpr std::size_t read_at_once = 1 << 20;
constexpr std::size_t worth_a_reference = 16384;

} // namespace

void Stream::FreeBuffer::operator()(bufferevent *b) const { bufferevent_free(b); }

Stream::Stream(Loop &loop, Fd fd, Callbacks callbacks)
    : callbacks_(std::move(callbacks)) {
    int one = 1;
    // Fails harmlessly on a socket that is not TCP.
    (void)::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    evutil_make_socket_nonblocking(fd.get());
    buffer_.reset(bufferevent_socket_new(loop.base(), fd.release(), BEV_OPT_CLOSE_ON_FREE));
    if (!buffer_) std::abort();
    bufferevent_set_max_single_read(buffer_.get(), read_at_once);
    bufferevent_set_max_single_write(buffer_.get(), read_at_once);
    bufferevent_setcb(
        buffer_.get(),
        [](bufferevent *, void *arg) {
            auto *self = static_cast<Stream *>(arg);
            if (!self->closed_ && self->callbacks_.on_data) self->callbacks_.on_data();
        },
        nullptr,
        [](bufferevent *, short what, void *arg) {
            auto *self = static_cast<Stream *>(arg);
            if (self->closed_) return;
            if (what & BEV_EVENT_CONNECTED) return;
            self->closed_ = true;
            std::string why;
            if (what & BEV_EVENT_ERROR) {
                int error = EVUTIL_SOCKET_ERROR();
                why = error ? std::strerror(error) : "connection lost";
            }
            if (self->callbacks_.on_closed) self->callbacks_.on_closed(why);
        },
        this);
    bufferevent_enable(buffer_.get(), EV_READ | EV_WRITE);
}

Stream::~Stream() = default;

std::size_t Stream::available() const {
    return evbuffer_get_length(bufferevent_get_input(buffer_.get()));
}

std::string_view Stream::peek(std::size_t n) const {
    auto *input = bufferevent_get_input(buffer_.get());
    auto *data = evbuffer_pullup(input, static_cast<ev_ssize_t>(n));
    return {reinterpret_cast<const char *>(data), data ? n : 0};
}

std::string Stream::take(std::size_t n) {
    std::string data(n, '\0');
    evbuffer_remove(bufferevent_get_input(buffer_.get()), data.data(), n);
    return data;
}

void Stream::drop(std::size_t n) { evbuffer_drain(bufferevent_get_input(buffer_.get()), n); }

void Stream::write(std::string_view data) {
    if (!closed_) bufferevent_write(buffer_.get(), data.data(), data.size());
}

void Stream::write(std::string data) {
    if (closed_) return;
    if (data.size() < worth_a_reference) return write(std::string_view(data));
    auto *kept = new std::string(std::move(data));
    evbuffer_add_reference(
        bufferevent_get_output(buffer_.get()), kept->data(), kept->size(),
        [](const void *, size_t, void *arg) { delete static_cast<std::string *>(arg); }, kept);
}

std::string Stream::local_host() const {
    sockaddr_storage own{};
    socklen_t length = sizeof own;
    ::getsockname(bufferevent_getfd(buffer_.get()), reinterpret_cast<sockaddr *>(&own), &length);
    char text[INET6_ADDRSTRLEN] = "";
    if (own.ss_family == AF_INET)
        ::inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in *>(&own)->sin_addr, text, sizeof text);
    else if (own.ss_family == AF_INET6)
        ::inet_ntop(AF_INET6, &reinterpret_cast<sockaddr_in6 *>(&own)->sin6_addr, text,
                    sizeof text);
    return text;
}

void Stream::silence() {
    closed_ = true;
    bufferevent_disable(buffer_.get(), EV_READ | EV_WRITE);
}

Result<Fd> begin_connect(const std::string &address) {
    sockaddr_storage where{};
    int length = sizeof where;
    if (evutil_parse_sockaddr_port(address.c_str(), reinterpret_cast<sockaddr *>(&where),
                                   &length) < 0)
        return fail(address + ": not an address; accepted: a numeric HOST:PORT");
    Fd fd(::socket(where.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return fail_errno("socket");
    if (::connect(fd.get(), reinterpret_cast<sockaddr *>(&where),
                  static_cast<socklen_t>(length)) < 0 &&
        errno != EINPROGRESS)
        return fail_errno(address);
    return fd;
}

} // namespace dtask::ev

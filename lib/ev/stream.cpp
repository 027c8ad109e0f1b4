// SPDX-License-Identifier: Apache-2.0
#include "lib/ev/stream.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "lib/base/net.h"
#include "lib/base/strings.h"
#include "lib/ev/local.h"

namespace dtask::ev {

namespace {

constexpr std::size_t least_room = 64 << 10;
// In one turn, so that one busy peer does not keep the others waiting.
constexpr std::size_t most_read = 4 << 20;
constexpr std::size_t chunk_size = 64 << 10; // small writes are gathered up to this
constexpr std::size_t chunks_at_once = 64;

} // namespace

Stream::Stream(Loop &loop, Fd fd, Callbacks callbacks)
    : loop_(loop), fd_(std::move(fd)), callbacks_(std::move(callbacks)),
      readable_(loop, fd_.get(), [this] { on_readable(); }),
      writable_(loop, fd_.get(), [this] { on_writable(); }),
      flush_(loop, [this] { on_writable(); }) {
    int one = 1;
    // Fails harmlessly on a socket that is not TCP.
    (void)::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    evutil_make_socket_nonblocking(fd_.get());
}

std::string Stream::take(std::size_t n) {
    std::string data(peek(n));
    drop(n);
    return data;
}

void Stream::drop(std::size_t n) {
    begin_ += n;
    if (begin_ < end_) return;
    // One that held a large frame is kept for the next, until a small one comes: it
    // must not keep its memory for ever.
    bool large = room_ > Loop::Scratch::size && room_ <= most_read;
    if (borrowed_ || !large || end_ < room_ / 4) {
        input_.reset();
        room_ = 0;
    }
    begin_ = end_ = 0;
}

void Stream::expect(std::size_t n) {
    if (borrowed_ || room_ - begin_ < n) keep(std::max({n, least_room, available()}));
}

// What is there goes to a buffer of our own with so much room.
void Stream::keep(std::size_t room) {
    std::unique_ptr<char[]> larger(new char[room]);
    if (available() > 0) std::memcpy(larger.get(), base() + begin_, available());
    end_ = available();
    begin_ = 0;
    borrowed_ = false;
    input_ = std::move(larger);
    room_ = room;
}

void Stream::on_readable() {
    auto &scratch = loop_.scratch();
    for (std::size_t read = 0; read < most_read && !closed_;) {
        bool borrow = room_ == 0 && !scratch.lent;
        // Room for what is expected is there already; else for a good piece more.
        if (!borrow && end_ == room_) keep(available() + std::max(least_room, available()));
        char *to = borrow ? scratch.bytes.get() : input_.get() + end_;
        std::size_t space = borrow ? Loop::Scratch::size : room_ - end_;
        ssize_t n = ::recv(fd_.get(), to, space, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == ENOTCONN)) return;
        if (n <= 0) return fail(n < 0 ? errno : write_error_);
        end_ += static_cast<std::size_t>(n);
        read += static_cast<std::size_t>(n);
        if (borrow) borrowed_ = scratch.lent = true;
        callbacks_.on_data();
        if (borrow) {
            if (borrowed_ && available() > 0) keep(std::max(available(), least_room));
            borrowed_ = scratch.lent = false;
        }
        if (static_cast<std::size_t>(n) < space) return;
    }
}

void Stream::write(std::string_view data) {
    if (closed_ || write_error_ || data.empty()) return;
    if (output_.empty()) flush_.set();
    if (output_.empty() || output_.back().size() + data.size() > chunk_size) output_.emplace_back();
    output_.back() += data;
    pending_ += data.size();
}

void Stream::write(std::string data) {
    if (data.size() < chunk_size) return write(std::string_view(data));
    if (closed_ || write_error_) return;
    if (output_.empty()) flush_.set();
    pending_ += data.size();
    output_.push_back(std::move(data));
}

void Stream::on_writable() {
    std::size_t before = pending_;
    flush();
    if (pending_ < before && !closed_ && !write_error_ && callbacks_.on_sent) callbacks_.on_sent();
}

void Stream::flush() {
    while (!output_.empty() && !closed_) {
        std::array<iovec, chunks_at_once> parts;
        std::size_t count = 0;
        for (auto &chunk : output_) {
            if (count == parts.size()) break;
            std::size_t skip = count == 0 ? sent_ : 0;
            parts[count++] = {chunk.data() + skip, chunk.size() - skip};
        }
        msghdr message{};
        message.msg_iov = parts.data();
        message.msg_iovlen = count;
        ssize_t n = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == ENOTCONN)) {
            blocked_ = true;
            return writable_.start();
        }
        // A peer that has closed may have sent its last words before: they are
        // read first, and its end of file tells that it has gone.
        if (n < 0) {
            write_error_ = errno;
            output_.clear();
            pending_ = 0;
            break;
        }
        pending_ -= static_cast<std::size_t>(n);
        for (sent_ += static_cast<std::size_t>(n);
             !output_.empty() && sent_ >= output_.front().size(); output_.pop_front())
            sent_ -= output_.front().size();
    }
    if (std::exchange(blocked_, false)) writable_.stop();
}

void Stream::fail(int error) {
    closed_ = true;
    closed_by_peer_ = error == 0 || error == ECONNRESET || error == EPIPE;
    readable_.stop();
    writable_.stop();
    callbacks_.on_closed(error ? std::strerror(error) : "");
}

std::string Stream::local_host() const {
    sockaddr_storage own{};
    socklen_t length = sizeof own;
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr *>(&own), &length);
    return numeric_address(reinterpret_cast<sockaddr *>(&own));
}

void Stream::keep_alive(int seconds) {
    // Who never answers is given up by whoever looks at unheard_ms(), not by the kernel.
    const std::pair<int, int> values[] = {
        {TCP_KEEPIDLE, seconds}, {TCP_KEEPINTVL, seconds}, {TCP_KEEPCNT, 127}};
    for (auto [name, value] : values)
        (void)::setsockopt(fd_.get(), IPPROTO_TCP, name, &value, sizeof value);
    int one = 1;
    (void)::setsockopt(fd_.get(), SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
}

std::int64_t Stream::unheard_ms() const {
    tcp_info info{};
    socklen_t length = sizeof info;
    if (::getsockopt(fd_.get(), IPPROTO_TCP, TCP_INFO, &info, &length) < 0) return 0;
    return info.tcpi_last_ack_recv;
}

void Stream::finish() { (void)::shutdown(fd_.get(), SHUT_WR); }

void Stream::silence() {
    closed_ = true;
    readable_.stop();
    writable_.stop();
    flush_.cancel();
}

Result<Fd> begin_connect(const std::string &address) {
    sockaddr_storage where{};
    int length = sizeof where;
    // evutil takes an address without a port, or with one like "8x".
    auto colon = address.rfind(':');
    auto port = colon == std::string::npos ? std::nullopt
                                           : parse_uint(address.substr(colon + 1), UINT16_MAX);
    if (port.value_or(0) == 0 ||
        evutil_parse_sockaddr_port(address.c_str(), reinterpret_cast<sockaddr *>(&where), &length) <
            0)
        return dtask::fail(address + ": not an address; accepted: a numeric HOST:PORT");
    Fd fd(::socket(where.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return fail_errno("socket");
    if (::connect(fd.get(), reinterpret_cast<sockaddr *>(&where), static_cast<socklen_t>(length)) <
            0 &&
        errno != EINPROGRESS)
        return fail_errno(address);
    return fd;
}

Result<Fd> connect_local(std::uint16_t port) {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return fail_errno("socket");
    auto [where, length] = local_sockaddr(port);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr *>(&where), length) < 0)
        return fail_errno("port " + std::to_string(port) + " of this machine");
    ucred listener{};
    socklen_t size = sizeof listener;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &listener, &size) < 0 ||
        listener.uid != ::geteuid())
        return dtask::fail("another user listens beside port " + std::to_string(port));
    return fd;
}

} // namespace dtask::ev

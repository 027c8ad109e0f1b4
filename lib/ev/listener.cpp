// SPDX-License-Identifier: Apache-2.0
#include "lib/ev/listener.h"

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include <event2/listener.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "lib/base/log.h"
#include "lib/base/net.h"
#include "lib/ev/local.h"

namespace dtask::ev {

namespace {

constexpr std::int64_t rest_ms = 100; // pause after accept() failed, as with EMFILE

std::string text_of(const sockaddr *address) {
    if (address->sa_family == AF_UNIX) return "this machine";
    auto host = numeric_address(address);
    if (host.empty()) return "?";
    // On a dual-stack socket an IPv4 peer shows as ::ffff:a.b.c.d.
    std::string_view text = host, mapped = "::ffff:";
    if (text.starts_with(mapped) && text.find('.') != std::string_view::npos)
        text.remove_prefix(mapped.size());
    return std::string(text);
}

// A dual-stack wildcard where the kernel has IPv6, else an IPv4 one.
Result<Fd> bound_socket(const std::string &host, std::uint16_t port) {
    sockaddr_storage where{};
    int length = sizeof where;
    std::string wildcard = host.empty() ? "[::]" : host;
    if (wildcard.find(':') != std::string::npos && wildcard.front() != '[')
        wildcard = '[' + wildcard + ']';
    std::string text = wildcard + ':' + std::to_string(port);
    // evutil refuses port 0, so it is put in afterwards.
    if (port == 0) text = wildcard + ":1";
    if (evutil_parse_sockaddr_port(text.c_str(), reinterpret_cast<sockaddr *>(&where), &length) < 0)
        return fail(host + ": not a numeric address");
    if (where.ss_family == AF_INET6)
        reinterpret_cast<sockaddr_in6 *>(&where)->sin6_port = htons(port);
    else
        reinterpret_cast<sockaddr_in *>(&where)->sin_port = htons(port);

    Fd fd(::socket(where.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd && host.empty() && errno == EAFNOSUPPORT) return bound_socket("0.0.0.0", port);
    if (!fd) return fail_errno("socket");
    int one = 1, zero = 0;
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (where.ss_family == AF_INET6)
        (void)::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if (::bind(fd.get(), reinterpret_cast<sockaddr *>(&where), static_cast<socklen_t>(length)) < 0)
        return fail_errno(text);
    return fd;
}

} // namespace

void Listener::FreeListener::operator()(evconnlistener *l) const { evconnlistener_free(l); }

Listener::Listener(Loop &loop, OnAccept on_accept)
    : on_accept_(std::move(on_accept)),
      rest_(loop, [this] { evconnlistener_enable(listener_.get()); }) {}

Listener::~Listener() = default;

Result<std::unique_ptr<Listener>> Listener::bind(Loop &loop, const std::string &host,
                                                 std::uint16_t port, OnAccept on_accept) {
    auto fd = bound_socket(host, port);
    if (!fd) return fail_from(std::move(fd), "listen");
    return start(loop, std::move(*fd), std::move(on_accept));
}

Result<std::unique_ptr<Listener>> Listener::bind_local(Loop &loop, std::uint16_t port,
                                                       OnAccept on_accept) {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return fail_errno("socket");
    auto [where, length] = local_sockaddr(port);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr *>(&where), length) < 0)
        return fail_errno("the socket beside port " + std::to_string(port));
    return start(loop, std::move(fd), std::move(on_accept));
}

Result<std::unique_ptr<Listener>> Listener::start(Loop &loop, Fd bound, OnAccept on_accept) {
    std::unique_ptr<Listener> self(new Listener(loop, std::move(on_accept)));
    self->port_ = local_port(bound.get());
    auto accepted = [](evconnlistener *, evutil_socket_t connection, sockaddr *peer, int,
                       void *arg) {
        static_cast<Listener *>(arg)->on_accept_(Fd(connection), text_of(peer));
    };
    constexpr int backlog = 4096; // every worker of a large step connects at once
    self->listener_.reset(evconnlistener_new(loop.base(), accepted, self.get(),
                                             LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, backlog,
                                             bound.get()));
    if (!self->listener_) return fail_errno("listen");
    (void)bound.release();
    evconnlistener_set_error_cb(self->listener_.get(), [](evconnlistener *l, void *arg) {
        int error = errno;
        evconnlistener_disable(l);
        static_cast<Listener *>(arg)->on_error(error);
    });
    return self;
}

void Listener::on_error(int error) {
    rest_.set(rest_ms);
    static bool told = false; // a port and the socket beside it suffer together
    if (std::exchange(told, true)) return;
    rlimit limit{};
    bool ours = error == EMFILE && ::getrlimit(RLIMIT_NOFILE, &limit) == 0;
    log::warning(
        std::string("connections cannot be accepted and wait: ") + std::strerror(error) +
        (ours ? ", of " + std::to_string(limit.rlim_cur) + " descriptors (ulimit -n)" : ""));
}

} // namespace dtask::ev

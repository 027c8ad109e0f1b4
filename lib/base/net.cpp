// SPDX-License-Identifier: Apache-2.0
#include "lib/base/net.h"

#include <cstddef>
#include <memory>
#include <set>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/strings.h"

namespace dtask {

namespace {

using namespace std::string_view_literals;

constexpr auto local_prefix = "\0dtask-"sv;

bool link_local(const sockaddr *address) {
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LINKLOCAL(&reinterpret_cast<const sockaddr_in6 *>(address)->sin6_addr);
}

} // namespace

Result<std::string> resolve(const std::string &host) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo *list = nullptr;
    if (int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &list); error != 0)
        return fail(host + ": " + ::gai_strerror(error));
    std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, &::freeaddrinfo);
    std::string found;
    for (auto *a = list; a; a = a->ai_next) {
        if (a->ai_family == AF_INET) return numeric_address(a->ai_addr);
        if (found.empty()) found = numeric_address(a->ai_addr);
    }
    if (found.empty()) return fail(host + ": no address");
    return found;
}

Result<std::string> interface_address(const std::string &interface) {
    ifaddrs *list = nullptr;
    if (::getifaddrs(&list) < 0) return fail_errno("interfaces");
    std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, &::freeifaddrs);
    std::string found;
    std::set<std::string> names;
    for (auto *i = list; i; i = i->ifa_next) {
        if (!i->ifa_addr || link_local(i->ifa_addr)) continue;
        std::string text = numeric_address(i->ifa_addr);
        if (text.empty()) continue; // no IP family
        names.insert(i->ifa_name);
        if (interface != i->ifa_name) continue;
        if (i->ifa_addr->sa_family == AF_INET) return text;
        if (found.empty()) found = text;
    }
    if (!found.empty()) return found;
    std::string known;
    for (const auto &name : names) known += (known.empty() ? "" : ", ") + name;
    return fail("no such interface with an address on " + host_name() + "; there are: " + known);
}

std::string numeric_address(const sockaddr *address) {
    char text[INET6_ADDRSTRLEN] = "";
    if (address->sa_family == AF_INET)
        ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in *>(address)->sin_addr, text,
                    sizeof text);
    else if (address->sa_family == AF_INET6)
        ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6 *>(address)->sin6_addr, text,
                    sizeof text);
    return text;
}

std::string host_name() {
    char name[256] = "";
    (void)::gethostname(name, sizeof name - 1);
    return name;
}

std::string user_name() {
    const passwd *entry = ::getpwuid(::geteuid());
    return entry ? entry->pw_name : std::to_string(::geteuid());
}

std::string local_name(std::uint16_t port) {
    return std::string(local_prefix) + std::to_string(port);
}

std::uint16_t local_port(int socket) {
    sockaddr_storage own{};
    socklen_t length = sizeof own;
    if (::getsockname(socket, reinterpret_cast<sockaddr *>(&own), &length) < 0) return 0;
    if (own.ss_family == AF_INET) return ntohs(reinterpret_cast<sockaddr_in *>(&own)->sin_port);
    if (own.ss_family == AF_INET6) return ntohs(reinterpret_cast<sockaddr_in6 *>(&own)->sin6_port);
    if (own.ss_family != AF_UNIX || length <= offsetof(sockaddr_un, sun_path)) return 0;
    std::string_view name(reinterpret_cast<sockaddr_un *>(&own)->sun_path,
                          length - offsetof(sockaddr_un, sun_path));
    if (!name.starts_with(local_prefix)) return 0;
    return static_cast<std::uint16_t>(
        parse_uint(name.substr(local_prefix.size()), UINT16_MAX).value_or(0));
}

std::uint16_t port_of(std::string_view address) {
    auto colon = address.rfind(':');
    if (colon == std::string_view::npos) return 0;
    return static_cast<std::uint16_t>(parse_uint(address.substr(colon + 1), 65535).value_or(0));
}

std::string host_of(std::string_view address) {
    auto host = address.substr(0, address.rfind(':'));
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    return std::string(host);
}

std::string join_address(const std::string &host, unsigned port) {
    bool v6 = host.find(':') != std::string::npos;
    return (v6 ? '[' + host + ']' : host) + ':' + std::to_string(port);
}

} // namespace dtask

// SPDX-License-Identifier: Apache-2.0
//
// Net: names and interfaces to numeric addresses. Resolving may block on the
// system's resolver: processes do it at their start, or when all is over anyway.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

struct sockaddr;

namespace dtask {

/// The first address of `host` (a name or a numeric address), IPv4 preferred.
Result<std::string> resolve(const std::string &host);

/// The address of a network interface, IPv4 preferred, never a link-local one.
/// The error lists the interfaces that there are.
Result<std::string> interface_address(const std::string &interface);

/// The numeric host of an address of IPv4 or IPv6; empty where it is of another family.
std::string numeric_address(const sockaddr *address);

std::string host_name();
/// Login name of the effective user, or the number where it has none.
std::string user_name();

/// The name of the Unix-domain socket that stands beside a TCP port for those on the same machine,
/// in the abstract namespace of the machine's (or the container's) network.
std::string local_name(std::uint16_t port);

/// The port of this end of a TCP connection, or of one to such a socket; 0 for any other.
std::uint16_t local_port(int socket);

/// The port of `host:port`; 0 where there is none.
std::uint16_t port_of(std::string_view address);

/// The host of `host:port`, without brackets.
std::string host_of(std::string_view address);

/// `host:port`, with brackets around an IPv6 host.
std::string join_address(const std::string &host, unsigned port);

} // namespace dtask

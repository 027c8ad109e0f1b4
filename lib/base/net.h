// SPDX-License-Identifier: Apache-2.0
//
// Net: names and interfaces to numeric addresses. Both calls may block on the
// system's resolver; they are made before a process enters its loop.
#pragma once

#include <string>
#include <vector>

#include "lib/base/result.h"

namespace dtask {

/// The first address of `host` (a name or a numeric address), IPv4 preferred.
Result<std::string> resolve(const std::string &host);

/// The address of a network interface, IPv4 preferred, never a link-local one.
/// The error lists the interfaces that there are.
Result<std::string> interface_address(const std::string &interface);

std::string host_name();

/// `host:port`, with brackets around an IPv6 host.
std::string join_address(const std::string &host, unsigned port);

} // namespace dtask

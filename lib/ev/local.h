// SPDX-License-Identifier: Apache-2.0
//
// The address of the Unix-domain socket that stands beside a TCP port. Its
// abstract name belongs to the network namespace, as the port does, and needs
// no directory that both ends see.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <sys/socket.h>
#include <sys/un.h>

#include "lib/base/net.h"

namespace dtask::ev {

inline std::pair<sockaddr_un, socklen_t> local_sockaddr(std::uint16_t port) {
    auto name = local_name(port);
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    std::copy(name.begin(), name.end(), where.sun_path);
    return {where, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size())};
}

} // namespace dtask::ev

// SPDX-License-Identifier: Apache-2.0
#include "runtime/client/probe.h"

#include <cerrno>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/net.h"
#include "lib/base/strings.h"
#include "lib/ev/loop.h"
#include "lib/json/json.h"
#include "lib/proto/link.h"
#include "runtime/client/connection_file.h"

namespace dtask::client {

namespace {

constexpr int patience_ms = 2'000;

// Does a scheduler at `address` prove that it holds `token`?
bool proves(const std::string &address, const proto::Token &token) {
    auto fd = ev::begin_connect(address);
    if (!fd) return false;
    ev::Loop loop;
    bool proven = false;
    ev::Timer patience(loop, [&] { loop.stop(); });
    patience.set(patience_ms);
    auto link =
        proto::Link::initiate(loop, std::move(*fd), port_of(address), token, proto::Role::observer,
                              {.on_open =
                                   [&](proto::Role) {
                                       proven = true;
                                       loop.stop();
                                   },
                               .on_frame = [](const proto::Frame &) {},
                               .on_closed = [&](bool, const std::string &) { loop.stop(); }});
    loop.run();
    return proven;
}

// Does anything listen at `address`, as "tls://n1:8786"?
bool answers(std::string_view address) {
    if (auto scheme = address.find("://"); scheme != address.npos)
        address.remove_prefix(scheme + 3);
    auto colon = address.rfind(':');
    if (colon == address.npos) return false;
    std::string host(address.substr(0, colon));
    if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
    auto numeric = resolve(host);
    if (!numeric) return false;
    auto fd = ev::begin_connect(join_address(*numeric, port_of(address)));
    if (!fd) return false;
    pollfd poll{fd->get(), POLLOUT, 0};
    int error = 0;
    socklen_t size = sizeof error;
    return ::poll(&poll, 1, patience_ms) == 1 &&
           ::getsockopt(fd->get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

Result<void> refuse(const std::string &path, const std::string &why) {
    return fail("--dtask-scheduler-file: " + path + " " + why +
                "; accepted: a name of its own, as %J makes one");
}

} // namespace

Result<void> may_write_connection_file(const std::string &path, const proto::Token &own) {
    if (::access(path.c_str(), F_OK) != 0) return {};
    auto text = read_file(path);
    if (!text) return fail_from(std::move(text), "--dtask-scheduler-file");
    auto json = Json::parse(*text);
    auto type = json ? json->string_or("type", "") : "";
    bool broken = !json && (trim(*text).empty() || trim(*text).starts_with('{'));
    if (broken) return {}; // its writer was stopped half-way
    if (type != "dtask" && type != "Scheduler")
        return refuse(path, "exists and is no scheduler file: it is not overwritten");
    if (auto present = read_connection_file(path)) {
        if (present->token.bytes() == own.bytes() || !proves(present->address, present->token))
            return {};
        return refuse(path, "is of step " + present->id + ", which is running on " + present->node);
    }
    auto address = json->string_or("address", "");
    if (!answers(address)) return {};
    return refuse(path, "is of another scheduler, which is running at " + address);
}

} // namespace dtask::client

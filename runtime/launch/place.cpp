// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/place.h"

#include <array>
#include <cstdio>
#include <memory>

#include "lib/base/net.h"
#include "lib/base/spawn.h"
#include "lib/base/strings.h"
#include "lib/model/ports.h"
#include "runtime/client/dialer.h"

namespace dtask::launch {

namespace {

// Node names that are not in DNS: Slurm knows their addresses (NodeAddr).
// The name was checked to be a plain word when the spec was read.
Result<std::string> node_address(const std::string &node) {
    std::string command = "scontrol -o show node '" + node + "' 2>/dev/null";
    // NOLINTNEXTLINE(cert-env33-c): a name that the shell takes as it is
    std::unique_ptr<FILE, int (*)(FILE *)> pipe(::popen(command.c_str(), "re"), &::pclose);
    if (!pipe) return fail_errno("scontrol");
    std::string text;
    std::array<char, 4096> chunk;
    while (std::size_t n = std::fread(chunk.data(), 1, chunk.size(), pipe.get()))
        text.append(chunk.data(), n);
    for (auto word : split(text, ' '))
        if (word.starts_with("NodeAddr=")) return resolve(std::string(word.substr(9)));
    return fail("node " + node + ": neither the resolver nor scontrol knows its address");
}

} // namespace

Result<std::string> scheduler_host(const model::LaunchSpec &spec) {
    if (!spec.scheduler_host.empty()) return resolve(spec.scheduler_host);
    if (auto host = resolve(spec.scheduler_node)) return host;
    return node_address(spec.scheduler_node);
}

Result<std::vector<std::string>> scheduler_candidates(const model::LaunchSpec &spec) {
    auto host = scheduler_host(spec);
    if (!host) return fail_from(std::move(host), "scheduler's node");
    return client::addresses(
        *host, model::candidate_ports(spec.job, spec.step, spec.first_port, spec.last_port));
}

Result<std::string> advertised_host(const model::LaunchSpec &spec) {
    if (spec.options.scheduler_interface.empty()) return scheduler_host(spec);
    auto address = interface_address(spec.options.scheduler_interface);
    if (!address)
        return fail_from(std::move(address),
                         "--dtask-interface=" + spec.options.scheduler_interface);
    return address;
}

std::string cluster_id(const model::LaunchSpec &spec) {
    return std::to_string(spec.job) + '.' + std::to_string(spec.step);
}

} // namespace dtask::launch

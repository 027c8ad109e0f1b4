// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/place.h"

#include "lib/base/ask.h"
#include "lib/base/net.h"
#include "lib/base/strings.h"
#include "lib/model/ports.h"
#include "runtime/client/dialer.h"

namespace dtask::launch {

namespace {

// Node names that are not in DNS: Slurm knows their addresses (NodeAddr).
Result<std::string> node_address(const std::string &node) {
    auto about = ask({"scontrol", "-o", "show", "node", node}, Env::current());
    auto unknown = "node " + node + ": neither the resolver nor scontrol knows its address";
    if (!about) return fail_from(std::move(about), unknown);
    for (auto word : split(*about, ' '))
        if (word.starts_with("NodeAddr=")) return resolve(std::string(word.substr(9)));
    return fail(unknown);
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

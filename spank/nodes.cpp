// SPDX-License-Identifier: Apache-2.0
#include "spank/nodes.h"

#include <algorithm>
#include <memory>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>

#include "lib/base/strings.h"
#include "spank/api.h"

namespace dtask::spank {
namespace {

std::string numeric(const sockaddr *address) {
    if (!address || (address->sa_family != AF_INET && address->sa_family != AF_INET6)) return {};
    socklen_t size = address->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    char text[NI_MAXHOST];
    if (::getnameinfo(address, size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0) return {};
    return text;
}

std::vector<std::string> resolve(const std::string &name) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo *list = nullptr;
    if (::getaddrinfo(name.c_str(), nullptr, &hints, &list) != 0) return {};
    std::unique_ptr<addrinfo, void (*)(addrinfo *)> owner(list, ::freeaddrinfo);
    std::vector<std::string> all;
    for (auto *entry = list; entry; entry = entry->ai_next)
        if (auto text = numeric(entry->ai_addr); !text.empty()) all.push_back(std::move(text));
    return all;
}

std::vector<std::string> own_addresses() {
    ifaddrs *list = nullptr;
    if (::getifaddrs(&list) != 0) return {};
    std::unique_ptr<ifaddrs, void (*)(ifaddrs *)> owner(list, ::freeifaddrs);
    std::vector<std::string> all;
    for (auto *entry = list; entry; entry = entry->ifa_next)
        if (auto text = numeric(entry->ifa_addr); !text.empty()) all.push_back(std::move(text));
    return all;
}

bool is_loopback(const std::string &address) {
    return address.starts_with("127.") || address == "::1";
}

bool is_numeric(const std::string &text) {
    in6_addr any;
    return ::inet_pton(AF_INET, text.c_str(), &any) == 1 ||
           ::inet_pton(AF_INET6, text.c_str(), &any) == 1;
}

} // namespace

std::string choose_host(const std::string &node_addr, const std::vector<std::string> &resolved) {
    if (is_numeric(node_addr)) return node_addr;
    for (const auto &address : resolved)
        if (!is_loopback(address)) return address;
    if (node_addr == "localhost" && !resolved.empty()) return resolved.front();
    return node_addr;
}

std::string first_node(std::uint32_t job, std::uint32_t step) {
    slurm_step_id_t id{};
    id.job_id = job;
    id.step_id = step;
    id.step_het_comp = NO_VAL;
    std::unique_ptr<slurm_step_layout_t, void (*)(slurm_step_layout_t *)> layout(
        ::slurm_job_step_layout_get(&id), ::slurm_job_step_layout_free);
    if (!layout || !layout->node_list) return {};
    return first_host(layout->node_list).value_or("");
}

NodeFacts look_up_node(const std::string &name) {
    NodeFacts facts;
    node_info_msg_t *message = nullptr;
    std::string writable = name;
    if (::slurm_load_node_single(&message, writable.data(), SHOW_ALL) != SLURM_SUCCESS || !message)
        return facts;
    std::string address;
    if (message->record_count > 0 && message->node_array[0].node_addr)
        address = message->node_array[0].node_addr;
    ::slurm_free_node_info_msg(message);
    if (address.empty()) return facts;

    auto resolved = resolve(address);
    facts.host = choose_host(address, resolved);
    auto own = own_addresses();
    facts.local = std::ranges::any_of(resolved, [&](const std::string &text) {
        return is_loopback(text) || std::ranges::find(own, text) != own.end();
    });
    return facts;
}

std::vector<std::string> interfaces() {
    std::vector<std::string> names;
    std::unique_ptr<struct if_nameindex, void (*)(struct if_nameindex *)> list(::if_nameindex(),
                                                                               ::if_freenameindex);
    for (auto *entry = list.get(); entry && entry->if_index != 0; entry++)
        names.emplace_back(entry->if_name);
    return names;
}

} // namespace dtask::spank

// SPDX-License-Identifier: Apache-2.0
#include "lib/model/launch.h"

#include <limits>
#include <set>

#include "lib/base/strings.h"
#include "lib/model/keyvalue.h"

namespace dtask::model {
namespace {

template <class Value> struct Field {
    std::string_view key;
    Value LaunchSpec::*member;
};

constexpr Field<std::uint32_t> numbers32[]{
    {"job", &LaunchSpec::job},
    {"step", &LaunchSpec::step},
    {"rank", &LaunchSpec::rank},
    {"ntasks", &LaunchSpec::ntasks},
    {"local_rank", &LaunchSpec::local_rank},
    {"local_ntasks", &LaunchSpec::local_ntasks},
    {"cpus_per_task", &LaunchSpec::cpus_per_task},
    {"worker_cpus", &LaunchSpec::worker_cpus},
};
constexpr Field<std::uint64_t> numbers64[]{
    {"worker_memory", &LaunchSpec::worker_memory},
    {"worker_cpu_quota_us", &LaunchSpec::worker_cpu_quota_us},
};
constexpr Field<std::uint16_t> numbers16[]{
    {"first_port", &LaunchSpec::first_port},
    {"last_port", &LaunchSpec::last_port},
};
constexpr Field<std::string> strings[]{
    {"token", &LaunchSpec::token},
    {"node", &LaunchSpec::node},
    {"scheduler_node", &LaunchSpec::scheduler_node},
    {"scheduler_host", &LaunchSpec::scheduler_host},
    {"nodelist", &LaunchSpec::nodelist},
    {"cgroup_root", &LaunchSpec::cgroup_root},
    {"submit_dir", &LaunchSpec::submit_dir},
    {"argv0", &LaunchSpec::argv0},
};

/// Options stand among the other keys with this in front.
constexpr std::string_view option_prefix = "option_";

enum class Taken { no, yes, bad };

template <class Integer, class Table>
Taken take_number(LaunchSpec &spec, const Table &table, std::string_view key,
                  std::string_view value) {
    for (const auto &entry : table) {
        if (entry.key != key) continue;
        auto number = parse_uint(value, std::numeric_limits<Integer>::max());
        if (!number) return Taken::bad;
        spec.*entry.member = static_cast<Integer>(*number);
        return Taken::yes;
    }
    return Taken::no;
}

Taken take_string(LaunchSpec &spec, std::string_view key, std::string_view value) {
    for (const auto &entry : strings) {
        if (entry.key != key) continue;
        spec.*entry.member = value;
        return Taken::yes;
    }
    return Taken::no;
}

/// Names of nodes and addresses: nothing that a message or a path could trip over.
bool is_host(std::string_view name) {
    return !name.empty() && name.size() <= 255 &&
           name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789.-_:%") == std::string_view::npos;
}

Result<void> check(const LaunchSpec &spec) {
    if (!is_token(spec.token)) return fail("token: not 64 hexadecimal digits");
    if (spec.rank >= spec.ntasks) return fail("rank: not below ntasks");
    if (spec.local_rank >= spec.local_ntasks) return fail("local_rank: not below local_ntasks");
    if (spec.local_ntasks > spec.ntasks) return fail("local_ntasks: above ntasks");
    if (spec.cpus_per_task == 0) return fail("cpus_per_task: is 0");
    if (spec.worker_cpus > spec.cpus_per_task) return fail("worker_cpus: above cpus_per_task");
    if (!is_host(spec.node)) return fail("node: not a name");
    if (!is_host(spec.scheduler_node)) return fail("scheduler_node: not a name");
    if (!spec.scheduler_host.empty() && !is_host(spec.scheduler_host))
        return fail("scheduler_host: not an address");
    if (spec.first_port > spec.last_port || (spec.first_port == 0) != (spec.last_port == 0))
        return fail("first_port, last_port: not a range");
    return {};
}

} // namespace

bool is_token(std::string_view token) {
    return token.size() == token_digits &&
           token.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string to_text(const LaunchSpec &spec) {
    KeyValues pairs;
    for (const auto &entry : numbers32)
        pairs.emplace_back(entry.key, std::to_string(spec.*entry.member));
    for (const auto &entry : numbers64)
        pairs.emplace_back(entry.key, std::to_string(spec.*entry.member));
    for (const auto &entry : numbers16)
        pairs.emplace_back(entry.key, std::to_string(spec.*entry.member));
    for (const auto &entry : strings) pairs.emplace_back(entry.key, spec.*entry.member);
    for (const auto &option : option_table())
        pairs.emplace_back(std::string(option_prefix) + std::string(option.key),
                           value_of(spec.options, option));
    return write_pairs(pairs);
}

Result<LaunchSpec> launch_from_text(std::string_view text) {
    auto pairs = read_pairs(text);
    if (!pairs) return fail_from(std::move(pairs));

    LaunchSpec spec;
    KeyValues options;
    std::set<std::string_view> seen;
    for (auto &[key, value] : *pairs) {
        seen.insert(key);
        if (key.starts_with(option_prefix)) {
            options.emplace_back(key.substr(option_prefix.size()), std::move(value));
            continue;
        }
        auto taken = take_string(spec, key, value);
        if (taken == Taken::no) taken = take_number<std::uint32_t>(spec, numbers32, key, value);
        if (taken == Taken::no) taken = take_number<std::uint64_t>(spec, numbers64, key, value);
        if (taken == Taken::no) taken = take_number<std::uint16_t>(spec, numbers16, key, value);
        if (taken == Taken::no)
            return fail("an unknown key: the plugin and dtaskd are of different versions");
        if (taken == Taken::bad) return fail(key + ": not a number, or out of range");
    }
    for (std::string_view key : {"token", "job", "step", "rank", "ntasks", "local_rank",
                                 "local_ntasks", "node", "scheduler_node"})
        if (!seen.contains(key)) return fail(std::string(key) + ": missing");

    auto parsed = options_from_text(write_pairs(options));
    if (!parsed) return fail_from(std::move(parsed), "option");
    spec.options = std::move(*parsed);
    if (auto checked = check(spec); !checked) return fail_from(std::move(checked));
    return spec;
}

} // namespace dtask::model

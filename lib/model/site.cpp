// SPDX-License-Identifier: Apache-2.0
#include "lib/model/site.h"

#include <set>

#include "lib/base/strings.h"

namespace dtask::model {
namespace {

tl::unexpected<Error> wrong(std::string_view word, std::string_view problem,
                            std::string_view accepted) {
    std::string text = "plugstack.conf: ";
    text.append(word).append(": ").append(problem);
    return fail(text.append("; accepted: ").append(accepted));
}

Result<void> set_ports(Site &site, std::string_view word, std::string_view value) {
    auto dash = value.find('-');
    auto low = parse_uint(value.substr(0, dash), UINT16_MAX);
    auto high = dash == value.npos ? low : parse_uint(value.substr(dash + 1), UINT16_MAX);
    if (!low || !high || *low == 0 || *high < *low)
        return wrong(word, "not a range of ports", "LO-HI, as 20000-29999");
    site.first_port = static_cast<std::uint16_t>(*low);
    site.last_port = static_cast<std::uint16_t>(*high);
    return {};
}

Result<void> set_path(std::string &path, std::string_view word, std::string_view value) {
    bool good = value.starts_with('/') && value.size() < 4096;
    for (char c : value) good = good && static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
    if (!good) return wrong(word, "not an absolute path", "an absolute path");
    path = value;
    return {};
}

Result<void> set_engines(Site &site, std::string_view word, std::string_view value) {
    for (auto name : split(value, ',')) {
        auto engine = name == name_of(Engine::native) ? Engine::native : Engine::dask;
        if (name != name_of(engine) || !site.engines.insert(engine).second)
            return wrong(word, "not a list of engines", "native, dask or native,dask");
    }
    return {};
}

Result<void> set_interfaces(Site &site, std::string_view word, std::string_view value) {
    for (auto name : split(value, ',')) {
        Options checked;
        auto ok = parse(checked, *find_key("interface"), name, Source::admin);
        if (!ok || name == "auto" || name.find('=') != name.npos)
            return wrong(word, "not a list of interfaces", "names with commas, as ib0,eth0");
        site.interfaces.emplace(name);
    }
    return {};
}

Result<void> set_max_workers(Site &site, std::string_view word, std::string_view value) {
    auto count = parse_uint(value, UINT32_MAX);
    if (!count || *count == 0) return wrong(word, "not a number of workers", "1 or more");
    site.max_workers = static_cast<std::uint32_t>(*count);
    return {};
}

Result<void> set_syslog(Site &site, std::string_view word, std::string_view value) {
    if (value != "on" && value != "off") return wrong(word, "neither on nor off", "on or off");
    site.syslog = value == "on";
    return {};
}

std::string known_keys() {
    std::string keys;
    for (const auto &option : option_table()) keys.append(option.key).append(", ");
    return keys + "ports, launcher, cgroup_root, engines, interfaces, max_workers or syslog";
}

Result<void> set(Site &site, std::string_view word) {
    auto equals = word.find('=');
    auto key = word.substr(0, equals);
    auto value = equals == word.npos ? std::string_view() : word.substr(equals + 1);
    if (equals == word.npos) return wrong(word, "not key=value", known_keys());
    if (key == "ports") return set_ports(site, word, value);
    if (key == "launcher") return set_path(site.launcher, word, value);
    if (key == "cgroup_root") return set_path(site.cgroup_root, word, value);
    if (key == "engines") return set_engines(site, word, value);
    if (key == "interfaces") return set_interfaces(site, word, value);
    if (key == "max_workers") return set_max_workers(site, word, value);
    if (key == "syslog") return set_syslog(site, word, value);
    // A site turns dtask off by taking the plugin's line away.
    if (key == "engine" && value == "off") return wrong(word, "not a default", "native or dask");
    if (auto option = find_key(key)) return parse(site.options, *option, value, Source::admin);
    return wrong(word, "no such key", known_keys());
}

} // namespace

Result<Site> parse_site(std::span<const char *const> words, std::string_view launcher) {
    Site site;
    site.launcher = launcher;
    std::set<std::string_view> seen;
    for (std::string_view word : words) {
        if (!seen.insert(word.substr(0, word.find('='))).second)
            return wrong(word, "stands twice", "each key once");
        if (auto done = set(site, word); !done) return fail_from(std::move(done));
    }
    // Defaults that nobody may have would be everybody's error.
    if (auto done = permit(site, site.options); !done)
        return fail_from(std::move(done), "plugstack.conf: its defaults");
    return site;
}

Result<void> permit(const Site &site, const Options &options) {
    if (!site.engines.empty() && options.engine != Engine::off &&
        !site.engines.contains(options.engine))
        return fail("--dtask=" + std::string(name_of(options.engine)) +
                    ": not at this site; accepted: " + std::string(name_of(*site.engines.begin())));
    for (const auto &name : {options.scheduler_interface, options.worker_interface}) {
        if (site.interfaces.empty() || name.empty() || site.interfaces.contains(name)) continue;
        std::string accepted = "auto";
        for (const auto &allowed : site.interfaces) accepted.append(", ").append(allowed);
        return fail("--dtask-interface=" + name + ": not at this site; accepted: " + accepted);
    }
    return {};
}

Result<void> permit(const Site &site, const Plan &plan) {
    if (site.max_workers == 0 || plan.workers <= site.max_workers) return {};
    return fail("--dtask: " + std::to_string(plan.workers) +
                " workers, more than this site lets a step have; accepted: at most " +
                std::to_string(site.max_workers));
}

} // namespace dtask::model

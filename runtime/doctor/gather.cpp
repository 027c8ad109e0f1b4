// SPDX-License-Identifier: Apache-2.0
#include "runtime/doctor/gather.h"

#include <filesystem>

#include <sys/resource.h>
#include <unistd.h>

#include "config.h"
#include "lib/base/ask.h"
#include "lib/base/fd.h"
#include "lib/base/net.h"
#include "lib/base/strings.h"
#include "lib/json/json.h"
#include "lib/model/ports.h"
#include "lib/model/site.h"
#include "runtime/doctor/host.h"
#include "runtime/doctor/plugstack.h"
#include "runtime/launch/interpreter.h"
#include "runtime/launch/scratch.h"

namespace dtask::doctor {

namespace {

// A package's version without what importing it would start.
constexpr const char *python_facts = R"(
import json, sys
from importlib import util
try:
    from importlib.metadata import version
except ImportError:
    def version(name): return "0"
def found(name):
    try:
        if util.find_spec(name) is None: return ""
        return version(name)
    except Exception: return "0"
def ours():
    try:
        import dtask
        return dtask.__version__
    except ImportError: return ""
print(json.dumps({"major": sys.version_info[0], "minor": sys.version_info[1], "dtask": ours(),
                  "cloudpickle": found("cloudpickle"), "distributed": found("distributed")}))
)";

/// "Key = value" lines, of the cgroup section as well.
std::map<std::string, std::string> parse_config(std::string_view text) {
    std::map<std::string, std::string> config;
    for (auto line : split(text, '\n')) {
        auto equals = line.find('=');
        if (equals == line.npos) continue;
        auto name = trim(line.substr(0, equals));
        if (!name.empty() && name.find(' ') == name.npos)
            config.emplace(name, trim(line.substr(equals + 1)));
    }
    return config;
}

std::string last_word(std::string_view text) {
    text = trim(text);
    auto at = text.rfind(' ');
    return std::string(at == text.npos ? text : text.substr(at + 1));
}

void gather_slurm(Facts &facts, const Env &env) {
    auto version = ask({"scontrol", "--version"}, env);
    if (!version) {
        facts.no_slurm = version.error().text();
        return;
    }
    facts.slurm = last_word(*version);
    if (auto config = ask({"scontrol", "show", "config"}, env))
        facts.config = parse_config(*config);
    else
        facts.no_config = config.error().text();
    if (auto help = ask({"srun", "--help"}, env))
        facts.srun_help = std::move(*help);
    else
        facts.no_srun = help.error().text();
}

/// Where Slurm looks for it: as it says, else beside slurm.conf.
std::string plugstack_path(const Facts &facts, const Env &env) {
    auto said = facts.config.find("PlugStackConfig");
    if (said != facts.config.end() && said->second.starts_with('/')) return said->second;
    if (facts.slurm.empty()) return {};
    std::filesystem::path conf = env.get_or("SLURM_CONF", "/etc/slurm/slurm.conf");
    return conf.parent_path() / "plugstack.conf";
}

model::Site gather_installation(Facts &facts, const Env &env) {
    model::Site site;
    site.launcher = DTASK_LIBEXECDIR "/dtaskd";
    auto path = plugstack_path(facts, env);
    if (path.empty()) return site;
    auto directory = facts.config.find("PluginDir");
    facts.plugstack =
        read_plugstack(path, directory == facts.config.end() ? "" : directory->second);
    if (facts.plugstack.lines.empty()) return site;
    const auto &line = facts.plugstack.lines.front();
    if (auto said = site_of(line, site.launcher)) site = std::move(*said);

    facts.plugin = look_at_file(line.plugin);
    if (facts.plugin->missing.empty()) {
        auto slurm = slurm_of_plugin(facts.plugin->path);
        if (slurm)
            facts.plugin_slurm = std::move(*slurm);
        else
            facts.plugin_broken = slurm.error().text();
    }
    facts.launcher = look_at_file(site.launcher);
    if (facts.launcher->missing.empty())
        if (auto version = ask({facts.launcher->path, "--version"}, env))
            facts.launcher_version = last_word(*version);
    return site;
}

void gather_munge(Facts &facts, const Env &env) {
    auto type = facts.config.find("AuthType");
    if (type != facts.config.end() && type->second != "auth/munge") return;
    std::vector<std::string> words = {
        "sh", "-c", "made=$(munge -n \"$@\") && echo \"$made\" | unmunge \"$@\"", "sh"};
    auto info = facts.config.find("AuthInfo");
    if (info != facts.config.end())
        for (auto part : split(info->second, ','))
            if (part.starts_with("socket=")) {
                words.emplace_back("-S");
                words.emplace_back(part.substr(7));
            }
    if (auto done = ask(words, env); !done) facts.munge_failure = done.error().text();
}

void gather_network(Facts &facts, const model::Site &site) {
    facts.interfaces = interfaces();
    auto range = read_file("/proc/sys/net/ipv4/ip_local_port_range");
    if (range) {
        auto text = trim(*range);
        auto blank = text.find_first_of(" \t");
        auto low = parse_uint(text.substr(0, blank), UINT16_MAX);
        auto high =
            blank == text.npos ? std::nullopt : parse_uint(trim(text.substr(blank)), UINT16_MAX);
        if (low && high) {
            facts.first_ephemeral = static_cast<std::uint16_t>(*low);
            facts.last_ephemeral = static_cast<std::uint16_t>(*high);
        }
    }
    facts.busy_ports = busy_ports(site.first_port ? site.first_port : model::default_first_port,
                                  site.last_port ? site.last_port : model::default_last_port);
}

void gather_python(Facts &facts, const Env &env) {
    auto &python = facts.python;
    python.path = launch::executor_python(env, "");
    auto said = ask({python.path, "-c", python_facts}, env);
    if (!said) {
        python.failure = python.path + ": " + said.error().text();
        return;
    }
    auto json = Json::parse(trim(*said));
    if (!json) {
        python.failure = python.path + " says what nobody expects: " + std::string(trim(*said));
        return;
    }
    python.major = static_cast<unsigned>(json->integer_or("major", 0));
    python.minor = static_cast<unsigned>(json->integer_or("minor", 0));
    python.dtask = json->string_or("dtask", "");
    python.cloudpickle = json->string_or("cloudpickle", "");
    python.distributed = json->string_or("distributed", "");
}

} // namespace

Facts gather(const Env &env) {
    Facts facts;
    facts.version = PACKAGE_VERSION;
    facts.host = host_name();
    facts.root = ::geteuid() == 0;
    gather_slurm(facts, env);
    auto site = gather_installation(facts, env);
    look_at_cgroups(facts, site.cgroup_root);
    gather_munge(facts, env);
    gather_network(facts, site);
    facts.scratch = look_at_directory(launch::scratch_base(site.options.scratch, env));
    facts.shared_memory = look_at_directory("/dev/shm");
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) facts.descriptors = limit.rlim_max;
    gather_python(facts, env);
    return facts;
}

} // namespace dtask::doctor

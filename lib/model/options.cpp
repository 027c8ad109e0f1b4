// SPDX-License-Identifier: Apache-2.0
#include "lib/model/options.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "lib/base/strings.h"
#include "lib/model/keyvalue.h"

namespace dtask::model {
namespace {

// Bounds: wide enough for any machine, narrow enough that sums never overflow.
constexpr std::uint32_t max_wait = 1'000'000;
constexpr std::uint32_t max_timeout_s = 86'400;
constexpr std::uint32_t max_restarts = 1'000;
constexpr std::uint32_t max_concurrency = 1'024;
constexpr std::uint64_t max_memory = std::uint64_t{1} << 50;
constexpr std::size_t max_interface = 15; // IFNAMSIZ without the final zero
constexpr std::size_t max_path = 4095;

constexpr std::pair<std::string_view, ReportOption::Kind> report_words[] = {
    {"auto", ReportOption::automatic}, {"on", ReportOption::on}, {"off", ReportOption::off}};

/// nullopt: taken; else what is wrong, as "not a size".
using Problem = std::optional<std::string>;

struct Row {
    OptionInfo info;
    Problem (*set)(Options &, std::string_view);
    std::string (*get)(const Options &);
};

/// The enumerator of that name.
template <class E, std::size_t N>
std::optional<E> pick(std::string_view value, const std::array<E, N> &all) {
    for (E e : all)
        if (name_of(e) == value) return e;
    return {};
}

template <std::uint32_t Options::*field>
Problem set_number(Options &o, std::string_view value, std::uint32_t min, std::uint32_t max) {
    auto number = parse_uint(value);
    if (!number) return "not a whole number";
    if (*number < min || *number > max) return "out of range";
    o.*field = static_cast<std::uint32_t>(*number);
    return {};
}

Problem set_engine(Options &o, std::string_view value) {
    auto engine = pick(value, std::array{Engine::native, Engine::dask, Engine::off});
    if (!engine) return "not an engine";
    o.engine = *engine;
    return {};
}

Problem set_slots(Options &o, std::string_view value) {
    auto mode = pick(value, std::array{SlotMode::packed, SlotMode::dedicated, SlotMode::overlap});
    if (!mode) return "not a mode";
    o.slots = *mode;
    return {};
}

Problem set_memory(Options &o, std::string_view value) {
    if (value == "auto") {
        o.memory = {MemoryOption::automatic, 0};
    } else if (value == "none") {
        o.memory = {MemoryOption::none, 0};
    } else {
        auto bytes = parse_size(value);
        if (!bytes) return "not a size";
        // One page is the least that the kernel can limit to.
        if (*bytes < 4096 || *bytes > max_memory) return "out of range";
        o.memory = {MemoryOption::size, *bytes};
    }
    return {};
}

std::string get_memory(const Options &o) {
    if (o.memory.kind == MemoryOption::automatic) return "auto";
    if (o.memory.kind == MemoryOption::none) return "none";
    // The largest unit that keeps the number whole: what was parsed was whole in K.
    std::uint64_t number = o.memory.bytes >> 10;
    std::size_t unit = 0;
    for (; unit < 3 && number != 0 && number % 1024 == 0; unit++) number /= 1024;
    return std::to_string(number) + "KMGT"[unit];
}

Problem set_cpus(Options &o, std::string_view value) {
    auto mode = pick(value, std::array{CpuMode::automatic, CpuMode::quota, CpuMode::none});
    if (!mode) return "not a mode";
    o.cpus = *mode;
    return {};
}

/// Whether the kernel could have an interface of that name.
bool is_interface(std::string_view name) {
    if (name.empty() || name.size() > max_interface || name == "." || name == "..") return false;
    for (char c : name)
        if (c <= ' ' || c > '~' || c == '/' || c == ',' || c == '=') return false;
    return true;
}

Problem set_interface(Options &o, std::string_view value) {
    constexpr std::string_view wrong = "not an interface name";
    auto name = [](std::string_view text) -> std::optional<std::string> {
        if (text == "auto") return std::string();
        if (!is_interface(text)) return {};
        return std::string(text);
    };
    if (value.find_first_of(",=") == std::string_view::npos) {
        auto both = name(value);
        if (!both) return std::string(wrong);
        o.scheduler_interface = o.worker_interface = *both;
        return {};
    }
    std::optional<std::string> scheduler, worker;
    for (auto part : split(value, ',')) {
        auto equals = part.find('=');
        auto role = part.substr(0, equals);
        auto &slot = role == "sched" ? scheduler : worker;
        if (equals == std::string_view::npos || (role != "sched" && role != "worker"))
            return "neither sched=IF nor worker=IF";
        if (slot) return "one role stands twice";
        slot = name(part.substr(equals + 1));
        if (!slot) return std::string(wrong);
    }
    o.scheduler_interface = scheduler.value_or("");
    o.worker_interface = worker.value_or("");
    return {};
}

std::string get_interface(const Options &o) {
    auto name = [](const std::string &s) { return s.empty() ? std::string("auto") : s; };
    if (o.scheduler_interface == o.worker_interface) return name(o.worker_interface);
    return "sched=" + name(o.scheduler_interface) + ",worker=" + name(o.worker_interface);
}

/// Any path the kernel takes; control characters would break one-line messages.
Problem check_path(std::string_view value) {
    if (value.empty()) return "empty";
    if (value.size() > max_path) return "too long";
    for (char c : value)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return "has a control character";
    return {};
}

template <std::string Options::*field> Problem set_path(Options &o, std::string_view value) {
    if (auto problem = check_path(value)) return problem;
    o.*field = value;
    return {};
}

Problem set_scratch(Options &o, std::string_view value) {
    if (value.starts_with('/') || value.starts_with("~/"))
        return set_path<&Options::scratch>(o, value);
    return "not an absolute path";
}

/// A path in which only `letters` may follow a '%' (with a width, as in Slurm).
Problem check_pattern(std::string_view value, std::string_view letters) {
    if (auto problem = check_path(value)) return problem;
    for (std::size_t i = 0; i < value.size(); i++) {
        if (value[i] != '%') continue;
        do {
            i++;
        } while (i < value.size() && value[i] >= '0' && value[i] <= '9');
        if (i == value.size() || letters.find(value[i]) == std::string_view::npos)
            return "an unknown % pattern";
    }
    return {};
}

template <std::string Options::*field> Problem set_pattern(Options &o, std::string_view value) {
    if (auto problem = check_pattern(value, "%jsJtNu")) return problem;
    o.*field = value;
    return {};
}

Problem set_preload(Options &o, std::string_view value) {
    for (auto module : split(value, ','))
        for (auto name : split(module, '.')) {
            auto letter = [](char c) {
                return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
            };
            bool digit = !name.empty() && name[0] >= '0' && name[0] <= '9';
            if (name.empty() || digit || !std::ranges::all_of(name, letter))
                return "not a module's name";
        }
    o.preload = value;
    return {};
}

template <bool Options::*field> Problem set_switch(Options &o, std::string_view value) {
    if (value != "on" && value != "off") return "neither on nor off";
    o.*field = value == "on";
    return {};
}

template <bool Options::*field> std::string get_switch(const Options &o) {
    return o.*field ? "on" : "off";
}

Problem set_report(Options &o, std::string_view value) {
    for (auto [word, kind] : report_words)
        if (value == word) {
            o.report.kind = kind;
            o.report.file.clear();
            return {};
        }
    if (auto problem = check_pattern(value, "%jsJtNu")) return problem;
    o.report.kind = ReportOption::to_file;
    o.report.file = value;
    return {};
}

std::string get_report(const Options &o) {
    for (auto [word, kind] : report_words)
        if (o.report.kind == kind) return std::string(word);
    return o.report.file;
}

Problem set_wait(Options &o, std::string_view value) {
    if (value == "all") {
        o.wait = {true, 0};
        return {};
    }
    auto number = parse_uint(value);
    if (!number) return "not a whole number";
    if (*number > max_wait) return "out of range";
    o.wait = {false, static_cast<std::uint32_t>(*number)};
    return {};
}

std::string get_wait(const Options &o) { return o.wait.all ? "all" : std::to_string(o.wait.count); }

constexpr std::array table{
    Row{{"dtask", "DTASK", "engine", "ENGINE", "native, dask or off",
         "turn the step into a task cluster: native (default), dask or off", true},
        set_engine,
        [](const Options &o) { return std::string(name_of(o.engine)); }},
    Row{{"dtask-slots", "DTASK_SLOTS", "slots", "MODE", "packed, dedicated or overlap",
         "where scheduler and client live: packed (default), dedicated or overlap", false},
        set_slots,
        [](const Options &o) { return std::string(name_of(o.slots)); }},
    Row{{"dtask-memory", "DTASK_MEMORY", "memory", "SIZE",
         "auto, none, or a number with K, M, G or T, as 500M",
         "memory limit of one worker: auto (default), none or a size as 500M", false},
        set_memory,
        get_memory},
    Row{{"dtask-cpus", "DTASK_CPUS", "cpus", "MODE", "auto, quota or none",
         "CPU limit of one worker: auto (default), quota or none", false},
        set_cpus,
        [](const Options &o) { return std::string(name_of(o.cpus)); }},
    Row{{"dtask-interface", "DTASK_INTERFACE", "interface", "IF",
         "auto, a network interface, or sched=IF,worker=IF",
         "network interface of task traffic: auto (default), IF or sched=IF,worker=IF", false},
        set_interface,
        get_interface},
    Row{{"dtask-scratch", "DTASK_SCRATCH", "scratch", "DIR", "an absolute path of a directory",
         "node-local directory for spill and logs: default $TMPDIR, else /tmp", false},
        set_scratch,
        [](const Options &o) { return o.scratch; }},
    Row{{"dtask-scheduler-file", "DTASK_SCHEDULER_FILE", "scheduler_file", "PATTERN",
         "a path; %j job, %s step, %J job.step, %t task, %N node, %u user, %% a percent sign",
         "connection file: default .dtask/%J.json in the submit directory", false},
        set_pattern<&Options::scheduler_file>,
        [](const Options &o) { return o.scheduler_file; }},
    Row{{"dtask-wait", "DTASK_WAIT", "wait", "N", "all or a number from 0 to 1000000",
         "workers that must be ready before the client starts: 1 (default), all or N", false},
        set_wait,
        get_wait},
    Row{{"dtask-timeout", "DTASK_TIMEOUT", "timeout", "SECS", "a number from 1 to 86400",
         "seconds that start-up may take: default 120", false},
        [](Options &o, std::string_view v) {
            return set_number<&Options::timeout_s>(o, v, 1, max_timeout_s);
        },
        [](const Options &o) { return std::to_string(o.timeout_s); }},
    Row{{"dtask-restarts", "DTASK_RESTARTS", "restarts", "N", "a number from 0 to 1000",
         "restarts of a worker that dies: default 3", false},
        [](Options &o, std::string_view v) {
            return set_number<&Options::restarts>(o, v, 0, max_restarts);
        },
        [](const Options &o) { return std::to_string(o.restarts); }},
    Row{{"dtask-concurrency", "DTASK_CONCURRENCY", "concurrency", "N", "a number from 1 to 1024",
         "functions that one worker runs at a time: default 1", false},
        [](Options &o, std::string_view v) {
            return set_number<&Options::concurrency>(o, v, 1, max_concurrency);
        },
        [](const Options &o) { return std::to_string(o.concurrency); }},
    Row{{"dtask-log", "DTASK_LOG", "log", "PATTERN",
         "a path; %j job, %s step, %J job.step, %t task, %N node, %u user, %% a percent sign",
         "where scheduler and workers log: default stderr, warnings only", false},
        set_pattern<&Options::log>,
        [](const Options &o) { return o.log; }},
    Row{{"dtask-tls", "DTASK_TLS", "tls", "SWITCH", "on or off",
         "encrypt and authenticate Dask's connections (dask engine): on (default) or off", false},
        set_switch<&Options::tls>,
        get_switch<&Options::tls>},
    Row{{"dtask-dashboard", "DTASK_DASHBOARD", "dashboard", "SWITCH", "on or off",
         "a page to look at, Dask's own with the dask engine: off (default) or on", true},
        set_switch<&Options::dashboard>,
        get_switch<&Options::dashboard>},
    Row{{"dtask-report", "DTASK_REPORT", "report", "FILE",
         "auto, on, off, or a path; %j job, %s step, %J job.step, %N node, %u user, %% a percent "
         "sign",
         "report at the end: auto (default), on, off, or a file for it, as report-%J.html", false},
        set_report,
        get_report},
    Row{{"dtask-preload", "DTASK_PRELOAD", "preload", "MODULES",
         "names of Python modules, as numpy,scipy.linalg",
         "Python modules that workers import when they start: default none", false},
        set_preload,
        [](const Options &o) { return o.preload; }},
};

constexpr auto infos = [] {
    std::array<OptionInfo, table.size()> all{};
    std::ranges::transform(table, all.begin(), &Row::info);
    return all;
}();

const Row &row_of(const OptionInfo &option) {
    for (const auto &row : table)
        if (row.info.key == option.key) return row;
    return table.front(); // not reached: an OptionInfo comes from the table
}

/// A value fit for a one-line message, whatever its bytes.
std::string printable(std::string_view value) {
    constexpr std::size_t enough = 200;
    std::string text;
    for (char c : value.substr(0, enough))
        text += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
    if (value.size() > enough) text += "...";
    return text;
}

Result<void> set_from_text(Options &options, std::string_view key, std::string_view value) {
    auto option = find_key(key);
    if (!option)
        return fail(
            "an unknown option: srun's plugin, the node's and dtaskd are not all of one version");
    const auto &row = row_of(*option);
    // An empty value is the default of those that have no word for it.
    if (value.empty() && row.get(Options{}).empty()) return {};
    if (auto problem = row.set(options, value)) return fail(std::string(key) + ": " + *problem);
    return {};
}

} // namespace

std::span<const OptionInfo> option_table() { return infos; }

const OptionInfo *find_option(std::string_view name) {
    for (const auto &info : infos)
        if (info.name == name) return &info;
    return nullptr;
}

const OptionInfo *find_key(std::string_view key) {
    for (const auto &info : infos)
        if (info.key == key) return &info;
    return nullptr;
}

std::string spelled(const OptionInfo &option, std::string_view value, Source source) {
    std::string text;
    switch (source) {
    case Source::command_line: text.append("--").append(option.name); break;
    case Source::environment: text = option.twin; break;
    case Source::admin: text.append("plugstack.conf: ").append(option.key); break;
    }
    return text + '=' + printable(value);
}

Result<void> parse(Options &options, const OptionInfo &option, std::string_view value,
                   Source source) {
    auto problem = row_of(option).set(options, value);
    if (!problem) return {};
    return fail(spelled(option, value, source) + ": " + *problem +
                "; accepted: " + std::string(option.accepted));
}

Result<void> parse(Options &options, std::string_view name, std::string_view value) {
    if (auto option = find_option(name)) return parse(options, *option, value);
    return fail("--" + printable(name) + ": no such option");
}

std::optional<std::string_view> twin(const Env &env, const OptionInfo &option) {
    auto value = env.get(option.twin);
    if (!value || value->empty()) return {};
    if (option.twin == "DTASK_SCHEDULER_FILE" && env.get("DTASK_TOKEN")) return {};
    return value;
}

Result<void> parse_twins(Options &options, const Env &env) {
    for (const auto &option : infos) {
        if (option.key == "engine") continue;
        auto value = twin(env, option);
        if (!value) continue;
        if (auto done = parse(options, option, *value, Source::environment); !done) return done;
    }
    return {};
}

std::string value_of(const Options &options, const OptionInfo &option) {
    return row_of(option).get(options);
}

std::string to_text(const Options &options) {
    KeyValues pairs;
    for (const auto &row : table) pairs.emplace_back(row.info.key, row.get(options));
    return write_pairs(pairs);
}

Result<Options> options_from_text(std::string_view text) {
    auto pairs = read_pairs(text);
    if (!pairs) return fail_from(std::move(pairs));
    Options options;
    for (const auto &[key, value] : *pairs)
        if (auto done = set_from_text(options, key, value); !done)
            return fail_from(std::move(done));
    return options;
}

Result<void> expand_home(Options &options, std::string_view home) {
    for (auto [key, field] : {std::pair{"scratch", &Options::scratch},
                              {"scheduler_file", &Options::scheduler_file},
                              {"log", &Options::log},
                              {"report", nullptr}}) {
        auto &path = field ? options.*field : options.report.file;
        if (!path.starts_with("~/")) continue;
        if (home.empty())
            return fail(spelled(*find_key(key), path, Source::command_line) +
                        ": HOME is not set; accepted: a path without ~");
        path.replace(0, 1, home);
    }
    return {};
}

std::string_view name_of(Engine engine) {
    switch (engine) {
    case Engine::native: return "native";
    case Engine::dask: return "dask";
    case Engine::off: return "off";
    }
    return "";
}

std::string_view name_of(SlotMode mode) {
    switch (mode) {
    case SlotMode::packed: return "packed";
    case SlotMode::dedicated: return "dedicated";
    case SlotMode::overlap: return "overlap";
    }
    return "";
}

std::string_view name_of(CpuMode mode) {
    switch (mode) {
    case CpuMode::automatic: return "auto";
    case CpuMode::quota: return "quota";
    case CpuMode::none: return "none";
    }
    return "";
}

} // namespace dtask::model

// SPDX-License-Identifier: Apache-2.0
//
// Options: what a user may ask of dtask, as a value, and the one table that
// says for each option its names, what it accepts and its help text. The same
// parser reads the command line, the environment, plugstack.conf and the text
// form, so a value means the same everywhere; only the words in front of an
// error differ.
//
// Precedence is the caller's: parse in the order of rising precedence, each
// value overwrites the one before. Parsing is pure.
//
// DTASK_SCHEDULER_FILE has two meanings. As the twin of
// --dtask-scheduler-file it is a pattern; in a client it is the path of the
// client's own connection file. A client also has DTASK_TOKEN, so where that
// stands beside it the variable is the client's and no twin: see `twin()`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/base/env.h"
#include "lib/base/result.h"

namespace dtask::model {

enum class Engine { native, dask, off };
enum class SlotMode { packed, dedicated, overlap };
enum class CpuMode { automatic, quota, none };

/// Memory limit of one worker. `bytes` matters for `size` only.
struct MemoryOption {
    enum Kind { automatic, none, size } kind = automatic;
    std::uint64_t bytes = 0;
    bool operator==(const MemoryOption &) const = default;
};

/// Workers to wait for. `count` matters where `all` is false.
struct WaitOption {
    bool all = false;
    std::uint32_t count = 1;
    bool operator==(const WaitOption &) const = default;
};

/// The report at a step's end. `file`, a pattern, matters for `to_file` only.
struct ReportOption {
    enum Kind { automatic, on, off, to_file } kind = automatic;
    std::string file;
    bool operator==(const ReportOption &) const = default;
};

struct Options {
    Engine engine = Engine::native;
    SlotMode slots = SlotMode::packed;
    MemoryOption memory;
    CpuMode cpus = CpuMode::automatic;
    std::string scheduler_interface; ///< empty: auto
    std::string worker_interface;    ///< empty: auto
    std::string scratch;             ///< empty: $TMPDIR, else /tmp
    std::string scheduler_file;      ///< a pattern; empty: .dtask/%J.json in the submit directory
    WaitOption wait;
    std::uint32_t timeout_s = 120;
    std::uint32_t restarts = 3;
    std::uint32_t concurrency = 1;
    std::string log;        ///< a pattern; empty: stderr, warnings only
    bool tls = true;        ///< of the dask engine
    bool dashboard = false; ///< a page to look at: the scheduler's own, or Dask's
    ReportOption report;
    std::string preload; ///< Python modules, with commas; may be empty

    bool operator==(const Options &) const = default;
};

struct OptionInfo {
    std::string_view name;     ///< long option without dashes: "dtask-slots"
    std::string_view twin;     ///< environment variable: "DTASK_SLOTS"
    std::string_view key;      ///< in plugstack.conf and in the text form: "slots"
    std::string_view arginfo;  ///< for help: "MODE"
    std::string_view accepted; ///< for errors: "packed, dedicated or overlap"
    std::string_view help;     ///< one line
    bool argument_optional;    ///< --dtask alone: an engine from elsewhere; a switch alone: on
};

/// Every option; --dtask itself comes first.
std::span<const OptionInfo> option_table();
/// By long option name; nullptr where there is none.
const OptionInfo *find_option(std::string_view name);
/// By key; nullptr where there is none.
const OptionInfo *find_key(std::string_view key);

/// Where a value was written; decides how an error names the option.
enum class Source { command_line, environment, admin };

/// "--dtask-slots=X", "DTASK_SLOTS=X" or "plugstack.conf: slots=X".
std::string spelled(const OptionInfo &option, std::string_view value, Source source);

/// Sets what `option` stands for. The error is one line, as
/// "--dtask-memory=2X: not a size; accepted: auto, none, or a number with K, M, G or T, as 500M".
/// On error `options` is unchanged.
Result<void> parse(Options &options, const OptionInfo &option, std::string_view value,
                   Source source = Source::command_line);
/// The same by long option name; an unknown name is an error.
Result<void> parse(Options &options, std::string_view name, std::string_view value);

/// The value of an option's environment twin; an empty variable counts as
/// unset, and a client's own DTASK_SCHEDULER_FILE is not a twin.
std::optional<std::string_view> twin(const Env &env, const OptionInfo &option);
/// Parses every twin that is set, but for DTASK (the engine).
Result<void> parse_twins(Options &options, const Env &env);

/// Puts `home` in place of the ~ in paths that begin with ~/, as the shell does
/// where a ~ begins a word: in --option=~/file it does not. Fails where there
/// is such a path and `home` is empty.
Result<void> expand_home(Options &options, std::string_view home);

/// One option's value as parse() reads it.
std::string value_of(const Options &options, const OptionInfo &option);

/// Lines of key=value, every option present; see keyvalue.h.
std::string to_text(const Options &options);
/// Strict: unknown and repeated keys are errors; a missing key keeps its default.
Result<Options> options_from_text(std::string_view text);

std::string_view name_of(Engine engine);
std::string_view name_of(SlotMode mode);
std::string_view name_of(CpuMode mode);

} // namespace dtask::model

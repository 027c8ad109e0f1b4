// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/handover.h"

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "lib/base/net.h"
#include "lib/base/strings.h"
#include "lib/model/pattern.h"

namespace dtask::launch {

namespace {

constexpr std::uint64_t shortest_silence_s = 4; // a sign of life comes each second
constexpr std::uint64_t longest_silence_s = 86'400;

} // namespace

Result<model::LaunchSpec> take_handover(Env &env) {
    auto text = env.get(handover_variable);
    if (!text) return fail("this command is started by dtask's launcher, not by hand");
    auto spec = model::launch_from_text(*text);
    env.unset(handover_variable);
    if (!spec) return fail_from(std::move(spec), handover_variable);
    return spec;
}

Result<std::int64_t> silence_limit(const Env &env) {
    auto given = env.get("DTASK_SILENCE");
    if (!given) return default_silence_s;
    std::string text(*given);
    auto seconds = parse_uint(text, longest_silence_s);
    if (!seconds || *seconds < shortest_silence_s)
        return fail("DTASK_SILENCE=" + text + ": accepted is a number of seconds from " +
                    std::to_string(shortest_silence_s) + " to " +
                    std::to_string(longest_silence_s));
    return static_cast<std::int64_t>(*seconds);
}

Result<void> open_log(const model::LaunchSpec &spec, std::string who) {
    const auto &pattern = spec.options.log;
    if (pattern.empty()) return log::open(std::move(who), log::Level::warning, "");
    model::PatternValues values{spec.job, spec.step, spec.rank, spec.node, user_name()};
    auto path = std::filesystem::path(spec.submit_dir) / model::expand(pattern, values);
    auto opened = log::open(who, log::Level::info, path.string());
    if (opened) return {};
    // A wrong path is refused; a disk that is full is no reason not to work.
    for (int reason : {ENOSPC, EDQUOT}) {
        if (!opened.error().text().ends_with(std::strerror(reason))) continue;
        (void)log::open(who, log::Level::warning, "");
        log::warning("--dtask-log=" + pattern + ": " + opened.error().text() +
                     "; its warnings come here");
        return {};
    }
    return fail_from(std::move(opened), "--dtask-log=" + pattern);
}

} // namespace dtask::launch

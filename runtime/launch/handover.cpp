// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/handover.h"

#include <filesystem>

#include "lib/base/net.h"
#include "lib/model/pattern.h"

namespace dtask::launch {

Result<model::LaunchSpec> take_handover(Env &env) {
    auto text = env.get(handover_variable);
    if (!text) return fail("this command is started by dtask's launcher, not by hand");
    auto spec = model::launch_from_text(*text);
    env.unset(handover_variable);
    if (!spec) return fail_from(std::move(spec), handover_variable);
    return spec;
}

Result<void> open_log(const model::LaunchSpec &spec, std::string who) {
    const auto &pattern = spec.options.log;
    if (pattern.empty()) return log::open(std::move(who), log::Level::warning, "");
    model::PatternValues values{spec.job, spec.step, spec.rank, spec.node, user_name()};
    auto path = std::filesystem::path(spec.submit_dir) / model::expand(pattern, values);
    auto opened = log::open(std::move(who), log::Level::info, path.string());
    if (!opened) return fail_from(std::move(opened), "--dtask-log=" + pattern);
    return {};
}

} // namespace dtask::launch

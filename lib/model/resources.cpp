// SPDX-License-Identifier: Apache-2.0
#include "lib/model/resources.h"

#include "lib/base/strings.h"

namespace dtask::model {

Result<std::map<std::string, std::uint64_t>> parse_resources(std::string_view text) {
    std::map<std::string, std::uint64_t> resources;
    if (text.empty()) return resources;
    auto wrong = [&](std::string_view why) {
        return fail(std::string(resources_variable) + "=" + std::string(text) + ": " +
                    std::string(why) + "; accepted: names and numbers, as gpu=2,licence=1");
    };
    for (auto part : split(text, ',')) {
        auto equals = part.find('=');
        if (equals == part.npos || equals == 0) return wrong("not NAME=NUMBER");
        auto name = std::string(part.substr(0, equals));
        auto amount = parse_uint(part.substr(equals + 1), INT64_MAX);
        if (!amount) return wrong("not a whole number");
        if (name == "cpus" || name == "memory") return wrong(name + " is the worker's own");
        if (!resources.emplace(name, *amount).second) return wrong(name + " stands twice");
    }
    return resources;
}

} // namespace dtask::model

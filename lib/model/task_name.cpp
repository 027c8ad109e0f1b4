// SPDX-License-Identifier: Apache-2.0
#include "lib/model/task_name.h"

#include "lib/base/strings.h"

namespace dtask::model {

Result<TaskName> parse_task_name(std::string_view text) {
    TaskName name;
    auto rest = text;
    if (auto colon = rest.find(':'); colon != rest.npos)
        if (auto client = parse_uint(rest.substr(0, colon))) {
            name.client = *client;
            rest.remove_prefix(colon + 1);
        }
    auto dash = rest.rfind('-');
    auto number = parse_uint(dash == rest.npos ? rest : rest.substr(dash + 1));
    if (!number || dash == 0)
        return fail("\"" + std::string(text) +
                    "\" is no name of a task; accepted: FUNCTION-NUMBER or NUMBER, with CLIENT: "
                    "before it where several clients have one");
    name.key = *number;
    if (dash != rest.npos) name.function = rest.substr(0, dash);
    return name;
}

} // namespace dtask::model

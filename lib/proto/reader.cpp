// SPDX-License-Identifier: Apache-2.0
#include "lib/proto/reader.h"

#include <algorithm>

namespace dtask::proto {

void Reader::resources(Resources &into) {
    if (!header_.has("resources")) return;
    auto amounts = header_.member("resources");
    for (const auto &name : amounts->names()) natural_of(*amounts, name.c_str(), into[name]);
}

void Reader::terms(Terms &into) {
    into.retries =
        static_cast<std::uint64_t>(std::max<std::int64_t>(0, header_.integer_or("retries", 0)));
    into.priority = header_.integer_or("priority", 0);
    if (header_.has("timeout")) natural("timeout", into.timeout_ms);
    if (header_.has("workers")) take(header_.strings("workers"), into.needs.workers);
    resources(into.needs.resources);
}

} // namespace dtask::proto

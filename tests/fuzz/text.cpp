// SPDX-License-Identifier: Apache-2.0
//
// File name patterns, numbers, sizes, digits and host lists.
#include "lib/base/strings.h"
#include "lib/model/pattern.h"
#include "tests/fuzz/target.h"

using namespace dtask;

DTASK_FUZZ_TARGET(text, bytes) {
    model::PatternValues values{4294967295, 7, 12, "node-with-a-name", "user"};
    auto name = model::expand(bytes, values);
    promise(name.size() <= 32 * bytes.size());
    if (bytes.find('%') == bytes.npos) promise(name == bytes);

    if (auto number = parse_uint(bytes)) promise(*number == parse_uint(std::to_string(*number)));
    if (auto size = parse_size(bytes)) promise(!format_size(*size).empty());
    if (auto digits = from_hex(bytes)) promise(digits->size() * 2 == bytes.size());
    promise(from_hex(to_hex(bytes)) == bytes);
    if (auto host = first_host(bytes)) promise(!host->empty() && host->size() <= bytes.size());
    for (auto part : split(bytes, ',')) promise(part.find(',') == part.npos);
}

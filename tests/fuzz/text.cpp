// SPDX-License-Identifier: Apache-2.0
//
// File name patterns, numbers, sizes, digits, host lists and srun's words.
#include "lib/base/strings.h"
#include "lib/model/pattern.h"
#include "lib/model/task_name.h"
#include "spank/local.h"
#include "spank/nodes.h"
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
    std::string one(bytes);
    (void)spank::choose_host(one, {one, "10.0.0.1"});
    std::vector<std::string> words;
    for (auto word : split(bytes, ' ')) words.emplace_back(word);
    for (std::size_t command = 0; command <= words.size() + 1; command++)
        (void)spank::has_multi_prog(words, command);
    if (auto task = model::parse_task_name(bytes)) promise(task->function.size() < bytes.size());
    for (auto part : split(bytes, ',')) promise(part.find(',') == part.npos);
}

// SPDX-License-Identifier: Apache-2.0
#include "runtime/ensemble/joblog.h"

#include <algorithm>

#include <fmt/format.h>

namespace dtask::ensemble {

std::string joblog_line(std::uint64_t number, const model::Ended &ended, std::string_view command) {
    constexpr double us = 1e6;
    auto line = fmt::format("{}\t{}\t{:.3f}\t{:10.3f}\t{}\t{}\t{}\t{}\t", number, ended.host,
                            static_cast<double>(ended.began_us) / us,
                            static_cast<double>(ended.ran_us) / us, 0, ended.output.size(),
                            ended.exit, ended.signal);
    auto begin = line.size();
    line += command;
    std::replace(line.begin() + static_cast<std::ptrdiff_t>(begin), line.end(), '\n', '\0');
    return line + '\n';
}

} // namespace dtask::ensemble

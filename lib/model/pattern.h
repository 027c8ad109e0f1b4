// SPDX-License-Identifier: Apache-2.0
//
// Pattern: file names with the replacements of Slurm's --output, as a pure
// function: %j job, %s step, %J job.step, %t rank, %N node, %u user, %% a
// percent sign; a number between % and the letter pads j, s and t with zeros,
// to 10 digits at most. What is no replacement stays as it is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dtask::model {

struct PatternValues {
    std::uint32_t job = 0, step = 0, rank = 0;
    std::string node, user;
};

std::string expand(std::string_view pattern, const PatternValues &values);

} // namespace dtask::model

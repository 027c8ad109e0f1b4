// SPDX-License-Identifier: Apache-2.0
//
// Progress: how far an ensemble is, as text. Pure. Times in µs.
#pragma once

#include <cstdint>
#include <string>

namespace dtask::ensemble {

struct Counts {
    std::uint64_t total = 0, ended = 0, failed = 0;
    std::uint64_t skipped = 0; ///< of total: done by a run before
    std::uint64_t running = 0, busy = 0, workers = 0;
    std::int64_t elapsed_us = 0;
};

/// "4200/10000 42 % | 31 failed | 512/s | 11 s left | 3 of 4 workers busy", in which what is
/// not known yet is left out.
std::string describe(const Counts &counts);
/// The same with a bar before it, at most `width` characters.
std::string bar(const Counts &counts, std::size_t width);
/// What is said at the end.
std::string summary(const Counts &counts);

/// "11 s", "3 min 20 s", "2 h 5 min".
std::string span(std::int64_t us);

} // namespace dtask::ensemble

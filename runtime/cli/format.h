// SPDX-License-Identifier: Apache-2.0
//
// Format: how the command `dtask` writes spans of time, rates and texts of others for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/proto/message.h"

namespace dtask::cli {

/// "0.3 s", "12 s", "4:05", "1:02:03", "3d 01:02:03".
std::string span(std::uint64_t ms);

/// Tasks a second lately: "0.2/s", "1234/s".
std::string rate(const proto::Info &info);

/// One line for a terminal: what is no printable character, and UTF-8 that is none, becomes '?'.
std::string printable(std::string_view text);
/// Cut, or filled with blanks, to so many columns of a terminal. `text` must be printable.
std::string fit(std::string_view text, std::size_t columns);
std::size_t columns_of(std::string_view text);

/// What runs on a worker: "f-1 12 s", the first of several, and how many more.
std::string current(const proto::WorkerInfo &worker);
/// "f-1 raised: ValueError: no (n1.0, 3 s ago)"
std::string failure_line(const proto::FailureInfo &failure, std::uint64_t uptime_ms);

} // namespace dtask::cli

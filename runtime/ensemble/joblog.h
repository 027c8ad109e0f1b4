// SPDX-License-Identifier: Apache-2.0
//
// Joblog: one line a job, in the format of GNU parallel's --joblog.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/model/command.h"

namespace dtask::ensemble {

constexpr std::string_view joblog_head =
    "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

/// A newline at its end; those in `command` become bytes 0, as GNU parallel has it.
std::string joblog_line(std::uint64_t number, const model::Ended &ended, std::string_view command);

} // namespace dtask::ensemble

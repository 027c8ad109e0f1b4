// SPDX-License-Identifier: Apache-2.0
//
// Log: one line a message, "dtask: LEVEL who: text", written with one write()
// so that lines of several processes do not mix. The process has one log; its
// threshold is set once at the entry point. Never give it a token.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace dtask::log {

enum class Level { debug, info, warning, error };

/// `who` names the process in each line, as "scheduler" or "worker n2.3".
/// `path` is a file to append to; empty means stderr.
Result<void> open(std::string who, Level threshold, const std::string &path);

void write(Level level, std::string_view text);

/// The latest lines from info on, 32 KiB of them, with the time of day, whatever the threshold.
std::string recent();

inline void debug(std::string_view text) { write(Level::debug, text); }
inline void info(std::string_view text) { write(Level::info, text); }
inline void warning(std::string_view text) { write(Level::warning, text); }
inline void error(std::string_view text) { write(Level::error, text); }

} // namespace dtask::log

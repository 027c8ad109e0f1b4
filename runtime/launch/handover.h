// SPDX-License-Identifier: Apache-2.0
//
// Handover: how the launcher tells the scheduler and the worker that it starts
// what they need: the launch specification, in one variable of their
// environment. They take it out at once; what they start does not see it.
#pragma once

#include <csignal>
#include <cstdint>
#include <string_view>

#include "lib/base/env.h"
#include "lib/base/log.h"
#include "lib/base/result.h"
#include "lib/model/launch.h"

namespace dtask::launch {

constexpr std::string_view handover_variable = "DTASK_HANDOVER";
/// Set for a worker that was started again: the how-manieth time.
constexpr std::string_view restart_variable = "DTASK_RESTART";
/// The directory for the values that a worker keeps; executors see it too.
constexpr std::string_view store_variable = "DTASK_STORE";

/// Set for workers whose client runs commands: they start executors when a function comes.
constexpr std::string_view commands_variable = "DTASK_COMMANDS";

/// Tells the scheduler that its launcher has died, so that it can tell the
/// others and clear up. One that nobody sends for another reason.
constexpr int scheduler_death_signal = SIGPWR;

/// Reads and removes the specification; an error where it is missing or wrong.
Result<model::LaunchSpec> take_handover(Env &env);

constexpr std::int64_t default_silence_s = 60;
/// Seconds after which a peer that is not heard of counts as lost: DTASK_SILENCE, else these.
Result<std::int64_t> silence_limit(const Env &env);

/// Opens the log that --dtask-log asks for, or stderr with warnings only.
Result<void> open_log(const model::LaunchSpec &spec, std::string who);

} // namespace dtask::launch

// SPDX-License-Identifier: Apache-2.0
//
// Chronicle: what goes from the scheduler's core into its Timeline. It reads the core,
// before the reactor takes the report.
#pragma once

#include "runtime/scheduler/core.h"
#include "runtime/scheduler/timeline.h"

namespace dtask::scheduler {

/// A worker reports these; `now` in µs since the step began.
void record(Timeline &timeline, const Core &core, WorkerId worker, const proto::Done &done,
            std::int64_t now);
void record(Timeline &timeline, const Core &core, WorkerId worker, const proto::Failure &failure,
            std::int64_t now);

/// How things stand in the core.
Timeline::Sample sample_of(const Core &core);

} // namespace dtask::scheduler

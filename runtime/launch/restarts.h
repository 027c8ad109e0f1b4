// SPDX-License-Identifier: Apache-2.0
//
// Restarts: what follows the end of a task's worker: it is started again, or the task does without.
// Pure; it counts. A worker whose connection broke comes again at once, one that died after a pause
// that doubles with each time, and both only so often.
#pragma once

#include <cstdint>
#include <string>

namespace dtask::launch {

class Restarts {
public:
    /// `most`: as --dtask-restarts says.
    explicit Restarts(unsigned most) : most_(most) {}

    /// What the launcher knows of the task when the worker ends.
    struct Task {
        bool alone = false;       ///< the worker is all that it runs
        bool terminated = false;  ///< SIGTERM has come
        bool interrupted = false; ///< SIGINT has come
    };
    struct Verdict {
        enum class What {
            over,  ///< the task has no worker any more, and nobody need be told
            again, ///< start it in pause_ms; 0: now
            unfit, ///< the scheduler must not count on it: `why`
        };
        What what = What::over;
        int code = 0; ///< over: of a task that ran nothing else
        std::int64_t pause_ms = 0;
        std::string why; ///< again: for the log, unless empty
    };
    /// `status`: of waitpid.
    Verdict after(int status, const Task &task);

    /// How often it was started again.
    unsigned count() const { return deaths_ + redials_; }

private:
    unsigned most_;
    unsigned deaths_ = 0, redials_ = 0; ///< after which it was, or is about to be, started again
};

} // namespace dtask::launch

// SPDX-License-Identifier: Apache-2.0
//
// Cluster: how the command `dtask` finds a running cluster and asks it something. An answer is
// waited for at most 5 s.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/env.h"
#include "lib/base/result.h"
#include "lib/proto/codec.h"
#include "runtime/client/connection_file.h"
#include "runtime/client/dialer.h"

namespace dtask::cli {

/// What a subcommand prints, each with a newline at its end, and its exit code.
struct Said {
    std::string text;       ///< on standard output
    std::string error = {}; ///< on standard error
    int code = 0;

    static constexpr int nothing = 1; ///< there is no such task or worker, or nothing to do
};

/// One question to one address, and its answer or why there is none.
struct Question {
    std::string address;
    std::optional<proto::Frame> answer;
    std::string failure;
    std::int64_t us = 0; ///< from the question to the answer
    std::unique_ptr<client::Dialer> dialer;
};

/// Asks all at once; `answer`: the type of the frame that is one.
void ask_all(std::vector<Question> &questions, const proto::Token &token,
             const proto::Frame &question, const char *answer);

/// Asks the scheduler.
Result<proto::Frame> ask(const client::Connection &connection, const proto::Frame &question,
                         const char *answer);

/// The cluster of that scheduler file; empty: of DTASK_SCHEDULER_FILE, else of the newest in
/// .dtask/.
Result<client::Connection> find_cluster(const std::string &scheduler_file, const Env &env);
/// The same for what is there for the engine native only.
Result<client::Connection> find_native_cluster(const std::string &scheduler_file, const Env &env);

} // namespace dtask::cli

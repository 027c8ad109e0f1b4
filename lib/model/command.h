// SPDX-License-Identifier: Apache-2.0
//
// Command: a task that is a program, and Ended: what became of it, as values and
// as the bytes in which they travel (doc/protocol.md §8). What many tasks have in
// common is one Command, their function's; each task's adds to it.
//
// Text is whatever a file name or an argument may be: any bytes but 0.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace dtask::model {

/// In an argument, a path or a variable: the number of the slot that it runs in.
constexpr std::string_view slot_mark = "{%}";

struct Command {
    std::vector<std::string> argv;
    bool slot_marks = false;      ///< each slot_mark is to be replaced where it starts
    bool streamed = false;        ///< what is brought back is told line by line while it runs
    std::vector<std::string> set; ///< NAME=VALUE, over the worker's environment
    std::vector<std::string> unset;
    std::string directory; ///< empty: the worker's
    std::string input;     ///< file to read; empty: /dev/null
    /// Files to write, relative to `directory`; empty: what is written is brought back. The
    /// same twice: one file has both.
    std::string output, errors;
    /// Of a client that keeps a journal: its path, and the digest of this job in it, in hex. What
    /// has ended well is noted beside it where the client may not hear of it.
    std::string journal, digest;
    std::uint64_t memory = 0; ///< bytes that it may have, with all that it starts; 0: any

    std::string encode() const;
    /// Adds what `bytes` say to `into`.
    static Result<void> decode(std::string_view bytes, Command &into);
};

/// A command that has run, or could not. Times of day and spans in µs, sizes in bytes.
struct Ended {
    std::uint32_t exit = 0, signal = 0;
    std::uint64_t began_us = 0, ran_us = 0, cpu_us = 0, peak = 0;
    std::string host;
    /// What it wrote, as far as it was brought back; of one that is streamed what was not told yet.
    std::string output, errors;
    std::uint64_t lost = 0; ///< that was written above what is brought back
    std::string encode() const;
    static Result<Ended> decode(std::string_view bytes);
};

/// Is the client `dtask map`? Its tasks are commands, and need no Python.
bool runs_commands(std::string_view program, std::string_view first_argument);

/// Tasks that a client has with the scheduler at a time, where it keeps a journal.
constexpr std::size_t most_untold = 8192;
/// The most that is brought back of each of output and errors.
constexpr std::size_t most_output = 16u << 20;
/// Of a file that has the errors this much of the end is brought back.
constexpr std::size_t errors_tail = 4096;

} // namespace dtask::model

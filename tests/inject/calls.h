// SPDX-License-Identifier: Apache-2.0
//
// What the tracer knows of system calls: which may be made by the plugin's
// root part, where they name what they work on, and what they are called.
// Whatever is not listed is foreign.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace dtask::inject {

enum class Kind { harmless, reads, changes, foreign };

/// Which arguments name the operand, from 0; -1 where there is none.
struct Operands {
    int fd = -1, path = -1;
};

Kind kind_of(long number, const std::array<std::uint64_t, 6> &args);
Operands operands_of(long number);
std::string name_of(long number);

bool is_of_memory(long number);
bool is_transfer(long number); ///< of bytes, their number in the third argument
bool is_removal(long number);
bool is_exit(long number);

/// Sanitizers end a process that gets no memory, and ask the kernel by a pipe
/// whether an address can be read.
#if defined __SANITIZE_ADDRESS__ // g++
constexpr bool sanitized = true;
#elif defined __has_feature // clang++
constexpr bool sanitized = __has_feature(address_sanitizer);
#else
constexpr bool sanitized = false;
#endif

} // namespace dtask::inject

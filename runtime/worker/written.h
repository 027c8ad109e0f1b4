// SPDX-License-Identifier: Apache-2.0
//
// Written: what a command has written to a file, read by the worker that opened it: at its end, or
// line by line meanwhile. Positions and sizes are bytes.
#pragma once

#include <cstdint>
#include <string>

#include "lib/base/fd.h"

namespace dtask::worker {

/// At most the first `most` bytes behind `from`; what was left out is added to `lost`.
std::string read_first(const Fd &file, std::size_t from, std::size_t most, std::uint64_t &lost);
/// At most the last `most` bytes.
std::string read_last(const Fd &file, std::size_t most);

/// The whole lines behind `told`, which moves on; of a line of more than a MiB what is there of it.
/// The file is one of memory: what was told is freed, but for the last 64 KiB.
std::string take_lines(const Fd &file, std::size_t &told);

} // namespace dtask::worker

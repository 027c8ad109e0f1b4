// SPDX-License-Identifier: Apache-2.0
//
// Screen: what `dtask top` shows, as lines of a terminal of a given size: a pure function of what
// the scheduler has told. Each line has exactly `columns` columns, colours aside.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "lib/proto/message.h"

namespace dtask::cli {

struct View {
    std::size_t columns = 80, rows = 24;
    bool colour = false;
    std::size_t first = 0; ///< worker at the top of the list
};

/// `rows` lines, or fewer.
std::vector<std::string> screen(const proto::Info &info, const View &view);

/// How many workers the list has room for.
std::size_t room_for_workers(const proto::Info &info, const View &view);

} // namespace dtask::cli

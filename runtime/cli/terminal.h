// SPDX-License-Identifier: Apache-2.0
//
// Terminal: a whole screen for as long as it lives: the alternate screen, no cursor, keys one by
// one and not echoed. Whoever destroys it, or calls leave(), gives the terminal back as it was.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <termios.h>

namespace dtask::cli {

class Terminal {
public:
    /// Are both ends a terminal that can be drawn on?
    static bool there_is_one(const std::string &term);

    Terminal() { enter(); }
    ~Terminal() { leave(); }
    Terminal(const Terminal &) = delete;
    Terminal &operator=(const Terminal &) = delete;

    void enter();
    void leave();
    /// Columns and rows; 80 and 24 where it does not say.
    struct Size {
        std::size_t columns = 80, rows = 24;
    };
    static Size size();
    /// In one write.
    void draw(const std::vector<std::string> &lines);

private:
    bool in_ = false, has_before_ = false;
    termios before_{};
};

} // namespace dtask::cli

// SPDX-License-Identifier: Apache-2.0
#include "runtime/cli/terminal.h"

#include <utility>

#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/base/fd.h"

namespace dtask::cli {

bool Terminal::there_is_one(const std::string &term) {
    bool dumb = term.empty() || term == "dumb";
    return !dumb && ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
}

void Terminal::enter() {
    if (std::exchange(in_, true)) return;
    has_before_ = ::tcgetattr(STDIN_FILENO, &before_) == 0;
    if (has_before_) {
        termios raw = before_;
        raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        (void)::tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
    }
    (void)write_all(STDOUT_FILENO, "\x1b[?1049h\x1b[?25l\x1b[2J");
}

void Terminal::leave() {
    if (!std::exchange(in_, false)) return;
    (void)write_all(STDOUT_FILENO, "\x1b[0m\x1b[?25h\x1b[?1049l");
    if (has_before_) (void)::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
}

Terminal::Size Terminal::size() {
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
        return {};
    return {size.ws_col, size.ws_row};
}

void Terminal::draw(const std::vector<std::string> &lines) {
    if (!in_) return;
    std::string text = "\x1b[H";
    for (std::size_t n = 0; n < lines.size(); n++) {
        text += lines[n];
        text += "\x1b[0m\x1b[K";
        if (n + 1 < lines.size()) text += "\r\n";
    }
    text += "\x1b[J";
    (void)write_all(STDOUT_FILENO, text);
}

} // namespace dtask::cli

// SPDX-License-Identifier: Apache-2.0
#include "lib/base/log.h"

#include <array>

#include <fcntl.h>
#include <unistd.h>

#include "lib/base/fd.h"

namespace dtask::log {

namespace {

struct State {
    std::string who;
    Level threshold = Level::warning;
    Fd file;
};

State &state() {
    static State s;
    return s;
}

} // namespace

Result<void> open(std::string who, Level threshold, const std::string &path) {
    auto &s = state();
    s.who = std::move(who);
    s.threshold = threshold;
    s.file.reset();
    if (path.empty()) return {};
    auto file = open_file(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
    if (!file) return fail_from(std::move(file), "log");
    s.file = std::move(*file);
    return {};
}

void write(Level level, std::string_view text) {
    constexpr std::array names{"debug: ", "info: ", "warning: ", ""};
    const auto &s = state();
    if (level < s.threshold) return;
    std::string line = "dtask: ";
    line += names[static_cast<std::size_t>(level)];
    if (!s.who.empty()) line.append(s.who).append(": ");
    line.append(text).append("\n");
    // A log that cannot be written must not stop the work: nothing to report to.
    (void)write_all(s.file ? s.file.get() : STDERR_FILENO, line);
}

} // namespace dtask::log

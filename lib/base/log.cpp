// SPDX-License-Identifier: Apache-2.0
#include "lib/base/log.h"

#include <array>
#include <ctime>

#include <fcntl.h>
#include <unistd.h>

#include "lib/base/fd.h"

namespace dtask::log {

namespace {

constexpr std::size_t most_kept = 32 << 10;

struct State {
    std::string kept; ///< whole lines
    std::string who;
    Level threshold = Level::warning;
    Fd file;
};

State &state() {
    static State s;
    return s;
}

// At most the latest; the oldest lines go, many at a time.
void keep(State &s, std::string_view level, std::string_view text) {
    std::time_t now = std::time(nullptr);
    std::tm parts{};
    char clock[16] = "";
    if (::localtime_r(&now, &parts)) (void)std::strftime(clock, sizeof clock, "%H:%M:%S ", &parts);
    s.kept.append(clock).append(level).append(text.substr(0, most_kept / 8)).append("\n");
    if (s.kept.size() <= 2 * most_kept) return;
    auto from = s.kept.find('\n', s.kept.size() - most_kept);
    s.kept.erase(0, from == std::string::npos ? s.kept.size() - most_kept : from + 1);
}

} // namespace

std::string recent() {
    std::string_view kept = state().kept;
    if (kept.size() > most_kept) {
        kept.remove_prefix(kept.size() - most_kept);
        kept.remove_prefix(kept.find('\n') + 1);
    }
    return std::string(kept);
}

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
    auto &s = state();
    if (level >= Level::info) keep(s, names[static_cast<std::size_t>(level)], text);
    if (level < s.threshold) return;
    std::string line = "dtask: ";
    line += names[static_cast<std::size_t>(level)];
    if (!s.who.empty()) line.append(s.who).append(": ");
    line.append(text).append("\n");
    // A log that cannot be written must not stop the work: nothing to report to.
    (void)write_all(s.file ? s.file.get() : STDERR_FILENO, line);
}

} // namespace dtask::log

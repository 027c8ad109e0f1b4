// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/processes.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include <dirent.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/spawn.h"
#include "lib/base/strings.h"

namespace dtask::worker {

using namespace std::string_view_literals;

namespace {

std::string place(pid_t pid, std::string_view file) {
    return "/proc/" + std::to_string(pid) + '/' + std::string(file);
}

struct Pages {
    std::uint64_t all = 0, of_files = 0; ///< resident, in bytes
};

Pages pages_of(pid_t pid) {
    auto text = read_file(place(pid, "statm"));
    if (!text) return {};
    auto fields = split(*text, ' ');
    static const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    auto bytes = [&](std::size_t n) {
        return fields.size() > n ? parse_uint(fields[n]).value_or(0) * page : 0;
    };
    return {bytes(1), std::min(bytes(2), bytes(1))};
}

/// The bytes of a line "Name:   123 kB".
std::optional<std::uint64_t> kilobytes(std::string_view line, std::string_view name) {
    if (!line.starts_with(name)) return {};
    line.remove_prefix(name.size());
    auto first = line.find_first_not_of(' ');
    if (first == line.npos) return {};
    line.remove_prefix(first);
    auto number = parse_uint(line.substr(0, line.find(' ')));
    if (!number) return {};
    return *number * 1024;
}

bool is_of_a_function(pid_t pid) {
    auto environment = read_file(place(pid, "environ"));
    if (!environment) return false;
    for (auto entry : split(*environment, '\0'))
        if (entry.starts_with("DTASK_WORKER=")) return true;
    return false;
}

} // namespace

Pids children_of(pid_t pid) {
    Pids pids;
    auto tasks = place(pid, "task");
    DIR *directory = ::opendir(tasks.c_str());
    if (!directory) return pids;
    while (const dirent *entry = ::readdir(directory)) {
        if (entry->d_name[0] == '.') continue;
        auto text = read_file(tasks + '/' + entry->d_name + "/children");
        if (!text) continue;
        for (auto word : split(*text, ' '))
            if (auto child = parse_uint(trim(word), INT32_MAX))
                pids.push_back(static_cast<pid_t>(*child));
    }
    ::closedir(directory);
    return pids;
}

Pids family_of(pid_t root) {
    Pids all{root};
    for (std::size_t n = 0; n < all.size(); n++)
        for (auto child : children_of(all[n]))
            // A process that moves up while we look may be met twice.
            if (std::ranges::find(all, child) == all.end()) all.push_back(child);
    return all;
}

std::uint64_t resident(pid_t pid, std::uint64_t mappable) {
    auto pages = pages_of(pid);
    return pages.all - std::min(pages.of_files, mappable);
}

std::uint64_t proportional(pid_t pid, std::uint64_t mappable) {
    auto text = read_file(place(pid, "smaps_rollup"));
    if (!text) return resident(pid, mappable); // another user's, by a set-uid program
    std::uint64_t all = 0;
    std::optional<std::uint64_t> anonymous;
    for (auto line : split(*text, '\n')) {
        if (auto bytes = kilobytes(line, "Pss:")) all = *bytes;
        if (auto bytes = kilobytes(line, "Pss_Anon:")) anonymous = *bytes;
    }
    if (!anonymous) return resident(pid, mappable);
    auto pages = pages_of(pid);
    auto of_files = all - std::min(*anonymous, all);
    auto own = pages.of_files - std::min(pages.of_files, mappable);
    if (own < pages.of_files)
        of_files =
            static_cast<std::uint64_t>(static_cast<double>(of_files) * static_cast<double>(own) /
                                       static_cast<double>(pages.of_files));
    return *anonymous + of_files;
}

std::uint64_t cpu_time(pid_t pid) {
    auto stat = read_file(place(pid, "stat"));
    if (!stat) return 0;
    auto name = stat->rfind(')');
    if (name == stat->npos) return 0;
    auto fields = split(std::string_view(*stat).substr(std::min(name + 2, stat->size())), ' ');
    constexpr std::size_t first = 11, last = 14; // utime, stime, cutime, cstime
    static const auto hertz = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
    std::uint64_t ticks = 0;
    for (auto n = first; n <= last && n < fields.size(); n++)
        ticks += parse_uint(fields[n]).value_or(0);
    return ticks * (1'000'000 / hertz);
}

bool is_first_to_die(pid_t pid) {
    auto score = read_file(place(pid, "oom_score_adj"));
    return score && trim(*score) == std::to_string(first_to_die);
}

bool is_ending(pid_t pid) {
    auto status = read_file(place(pid, "status"));
    if (!status) return true;
    for (auto line : split(*status, '\n')) {
        if (line.starts_with("State:") && line.find_first_of("ZX") != line.npos) return true;
        if (!line.starts_with("SigPnd:") && !line.starts_with("ShdPnd:")) continue;
        // A mask in hexadecimal digits, the lowest signals last: SIGKILL's bit is 8.
        auto mask = trim(line.substr(line.find(':') + 1));
        if (mask.size() >= 3 && "13579bdf"sv.find(mask[mask.size() - 3]) != mask.npos) return true;
    }
    auto stat = read_file(place(pid, "stat"));
    if (!stat) return true;
    // After the name in parentheses, which may have anything in it: state, …, flags.
    auto fields = split(std::string_view(*stat).substr(stat->rfind(')') + 1), ' ');
    constexpr std::size_t flags = 7;
    constexpr std::uint64_t exiting = 4;
    return fields.size() <= flags || (parse_uint(fields[flags]).value_or(0) & exiting) != 0;
}

Pids Strays::find(const Pids &executors, pid_t nursery) {
    Pids strays;
    std::unordered_set<pid_t> others;
    for (auto pid : children_of(adopter_)) {
        if (pid == ::getpid() || pid == nursery) continue;
        if (std::ranges::find(executors, pid) != executors.end()) continue;
        bool of_an_executor = std::ranges::find(executors, ::getpgid(pid)) != executors.end();
        if (!of_an_executor && (others_.contains(pid) || !is_of_a_function(pid)))
            others.insert(pid);
        else
            strays.push_back(pid);
    }
    others_ = std::move(others);
    return strays;
}

} // namespace dtask::worker

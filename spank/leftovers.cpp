// SPDX-License-Identifier: Apache-2.0
#include "spank/leftovers.h"

#include <algorithm>
#include <csignal>
#include <memory>
#include <string_view>

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/strings.h"

namespace dtask::spank {

namespace {

constexpr std::string_view prefix = "dtask-";
constexpr const char *marker = ".dtask-scratch";
constexpr int most_depth = 50; // what somebody has nested deeper is his own
constexpr int most_rounds = 3; // a listing may miss what moves while it is read
constexpr int directory_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
constexpr long pause_ms = 5;

// dtask-JOB.STEP-RANK-XXXXXX
bool is_name_of(const Leftovers &what, std::string_view name) {
    if (!name.starts_with(prefix)) return false;
    auto parts = split(name.substr(prefix.size()), '-');
    if (parts.size() != 3) return false;
    if (parts[0] != std::to_string(what.job) + "." + std::to_string(what.step)) return false;
    auto rank = parse_uint(parts[1], UINT32_MAX);
    return rank && std::ranges::find(what.ranks, *rank) != what.ranks.end();
}

std::vector<std::string> names_in(int directory) {
    std::vector<std::string> names;
    Fd again(::openat(directory, ".", directory_flags));
    if (!again) return names;
    std::unique_ptr<DIR, int (*)(DIR *)> listing(::fdopendir(again.get()), ::closedir);
    if (!listing) return names;
    again.release();
    while (const dirent *entry = ::readdir(listing.get())) {
        std::string_view name = entry->d_name;
        if (name != "." && name != "..") names.emplace_back(name);
    }
    return names;
}

// Leaves of a directory what cannot be removed. No link is followed.
void empty(int directory, int depth) {
    for (int round = 0; round < most_rounds; round++) {
        auto names = names_in(directory);
        if (names.empty()) return;
        for (const auto &name : names) {
            if (::unlinkat(directory, name.c_str(), 0) == 0 || depth >= most_depth) continue;
            Fd below(::openat(directory, name.c_str(), directory_flags));
            if (!below) continue;
            empty(below.get(), depth + 1);
            ::unlinkat(directory, name.c_str(), AT_REMOVEDIR);
        }
    }
}

void remove_one(int base, const std::string &name) {
    Fd directory(::openat(base, name.c_str(), directory_flags));
    struct stat about {};
    if (!directory || ::fstat(directory.get(), &about) < 0) return;
    if (about.st_uid != ::geteuid() || (about.st_mode & 0777) != 0700) return;
    Fd lock(::openat(directory.get(), marker, O_RDWR | O_NOFOLLOW | O_CLOEXEC));
    if (!lock || ::flock(lock.get(), LOCK_EX | LOCK_NB) < 0) return;
    empty(directory.get(), 0);
    ::unlinkat(base, name.c_str(), AT_REMOVEDIR);
}

// Gives up root's rights, all of them and for good.
bool become(uid_t uid, gid_t gid) {
    if (uid == static_cast<uid_t>(-1) || gid == static_cast<gid_t>(-1)) return false;
    ::prctl(PR_SET_DUMPABLE, 0);
    if (::setgroups(0, nullptr) < 0 || ::setresgid(gid, gid, gid) < 0 ||
        ::setresuid(uid, uid, uid) < 0)
        return false;
    if (::getuid() != uid || ::geteuid() != uid || ::getegid() != gid) return false;
    return uid == 0 || ::setuid(0) < 0;
}

[[noreturn]] void child(const Leftovers &what) noexcept {
    bool done = false;
    try {
        if (become(what.uid, what.gid)) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            ::syscall(SYS_close_range, 0u, ~0u, 0u);
            remove_leftovers(what);
            done = true;
        }
    } catch (...) { // this is not slurmstepd: nothing may return to it
    }
    ::_exit(done ? 0 : 1);
}

} // namespace

void remove_leftovers(const Leftovers &what) {
    for (const auto &base : what.bases) {
        // The base may well be a link, as /tmp is on some machines.
        Fd directory(::open(base.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!directory) continue;
        for (const auto &name : names_in(directory.get()))
            if (is_name_of(what, name)) remove_one(directory.get(), name);
    }
}

void remove_leftovers_as_user(const Leftovers &what, long most_ms) {
    pid_t pid = ::fork();
    if (pid == 0) child(what);
    if (pid < 0) return; // the user's next launcher here removes them
    for (long waited = 0; waited < most_ms; waited += pause_ms) {
        if (::waitpid(pid, nullptr, WNOHANG) != 0) return;
        timespec time{0, pause_ms * 1'000'000};
        ::nanosleep(&time, nullptr);
    }
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
}

} // namespace dtask::spank

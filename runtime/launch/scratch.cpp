// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/scratch.h"

#include <filesystem>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/strings.h"

namespace dtask::launch {

namespace {

constexpr std::string_view prefix = "dtask-";
constexpr const char *marker = "/.dtask-scratch"; // what makes a directory one of ours
constexpr std::size_t random_letters = 6;         // of mkdtemp

bool is_number(std::string_view text) { return parse_uint(text).has_value(); }

// dtask-JOB.STEP-RANK-XXXXXX
bool is_scratch_name(std::string_view name) {
    if (!name.starts_with(prefix)) return false;
    auto parts = split(name.substr(prefix.size()), '-');
    if (parts.size() != 3 || parts[2].size() != random_letters || !is_number(parts[1]))
        return false;
    auto cluster = split(parts[0], '.');
    return cluster.size() == 2 && is_number(cluster[0]) && is_number(cluster[1]);
}

bool is_private(const std::filesystem::path &path) {
    struct stat about {};
    if (::lstat(path.c_str(), &about) < 0 || !S_ISDIR(about.st_mode)) return false;
    return about.st_uid == ::geteuid() && (about.st_mode & 0777) == 0700;
}

// Removes directories whose maker has died. One without its marker yet, or on
// a file system without locks, stays.
void sweep(const std::filesystem::path &base) {
    std::error_code ignored;
    for (const auto &entry : std::filesystem::directory_iterator(base, ignored)) {
        const auto &path = entry.path();
        if (!is_scratch_name(path.filename().string()) || !is_private(path)) continue;
        auto lock = open_file(path.string() + marker, O_RDWR | O_NOFOLLOW);
        if (!lock || ::flock(lock->get(), LOCK_EX | LOCK_NB) < 0) continue;
        std::filesystem::remove_all(path, ignored);
    }
}

} // namespace

std::string scratch_base(const std::string &chosen, const Env &task) {
    if (!chosen.empty()) return chosen;
    auto base = task.get_or("TMPDIR", "/tmp");
    std::error_code ignored;
    bool usable =
        std::filesystem::is_directory(base, ignored) && ::access(base.c_str(), W_OK | X_OK) == 0;
    return usable ? base : "/tmp";
}

Result<Scratch> Scratch::make(const std::string &base, const std::string &cluster, unsigned rank) {
    sweep(base);
    Scratch scratch;
    scratch.path_ = base + "/" + std::string(prefix) + cluster + "-" + std::to_string(rank) + "-" +
                    std::string(random_letters, 'X');
    if (!::mkdtemp(scratch.path_.data())) {
        scratch.path_.clear();
        return fail_errno(base + ": no directory can be made in it");
    }
    // The marker is locked before it has its name: no sweep can come between.
    std::string unnamed = scratch.path_ + marker + ".new";
    auto lock = open_file(unnamed, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (!lock) return fail_from(std::move(lock), base);
    // Where the file system has no locks nothing is swept either.
    (void)::flock(lock->get(), LOCK_EX | LOCK_NB);
    if (::rename(unnamed.c_str(), (scratch.path_ + marker).c_str()) < 0) return fail_errno(base);
    scratch.lock_ = std::move(*lock);
    return scratch;
}

Scratch::~Scratch() {
    if (path_.empty()) return;
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
    sweep(std::filesystem::path(path_).parent_path());
}

} // namespace dtask::launch

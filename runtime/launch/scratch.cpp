// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/scratch.h"

#include <filesystem>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace dtask::launch {

namespace {

constexpr std::string_view prefix = "dtask-";
constexpr int most_attempts = 20;

Result<Fd> locked(const std::string &directory, int wait) {
    auto fd = open_file(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!fd) return fd;
    if (::flock(fd->get(), LOCK_EX | wait) < 0) return fail_errno(directory);
    return fd;
}

// Is it by name (dtask-JOB.STEP-RANK-XXXXXX), mode and owner one of ours?
bool is_scratch(const std::filesystem::path &path) {
    auto name = path.filename().string();
    if (!name.starts_with(prefix) || name.find('.') == std::string::npos) return false;
    struct stat about{};
    if (::lstat(path.c_str(), &about) < 0 || !S_ISDIR(about.st_mode)) return false;
    return about.st_uid == ::geteuid() && (about.st_mode & 0777) == 0700;
}

// The lock is kept until the directory is gone: its maker may be waiting for it.
void sweep(const std::filesystem::path &base) {
    std::error_code ignored;
    for (const auto &entry : std::filesystem::directory_iterator(base, ignored)) {
        if (!is_scratch(entry.path())) continue;
        if (auto lock = locked(entry.path().string(), LOCK_NB))
            std::filesystem::remove_all(entry.path(), ignored);
    }
}

} // namespace

Result<Scratch> Scratch::make(const std::string &base, const std::string &cluster, unsigned rank) {
    sweep(base);
    // Between the making and the lock somebody else's sweep may take it away: once more then.
    for (int attempt = 0; attempt < most_attempts; attempt++) {
        std::string path = base + "/" + std::string(prefix) + cluster + "-" +
                           std::to_string(rank) + "-XXXXXX";
        if (!::mkdtemp(path.data()))
            return fail_errno("--dtask-scratch=" + base + ": no directory can be made in it");
        auto lock = locked(path, 0);
        if (!lock || ::access(path.c_str(), F_OK) != 0) continue;
        Scratch scratch;
        scratch.path_ = std::move(path);
        scratch.lock_ = std::move(*lock);
        return scratch;
    }
    return fail("--dtask-scratch=" + base + ": what is made in it vanishes");
}

Scratch::~Scratch() {
    if (path_.empty()) return;
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
    sweep(std::filesystem::path(path_).parent_path());
}

} // namespace dtask::launch

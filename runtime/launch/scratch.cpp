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

Result<Fd> locked(const std::string &directory) {
    auto fd = open_file(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!fd) return fd;
    if (::flock(fd->get(), LOCK_EX | LOCK_NB) < 0) return fail_errno(directory);
    return fd;
}

// Ours by name (dtask-JOB.STEP-RANK-XXXXXX), mode and owner, and held by nobody.
bool is_abandoned(const std::filesystem::path &path) {
    auto name = path.filename().string();
    if (!name.starts_with(prefix) || name.find('.') == std::string::npos) return false;
    struct stat about{};
    if (::lstat(path.c_str(), &about) < 0 || !S_ISDIR(about.st_mode)) return false;
    if (about.st_uid != ::geteuid() || (about.st_mode & 0777) != 0700) return false;
    return static_cast<bool>(locked(path.string()));
}

void sweep(const std::filesystem::path &base) {
    std::error_code ignored;
    for (const auto &entry : std::filesystem::directory_iterator(base, ignored))
        if (is_abandoned(entry.path())) std::filesystem::remove_all(entry.path(), ignored);
}

} // namespace

Result<Scratch> Scratch::make(const std::string &base, const std::string &cluster, unsigned rank) {
    sweep(base);
    Scratch scratch;
    scratch.path_ = base + "/" + std::string(prefix) + cluster + "-" + std::to_string(rank) + "-XXXXXX";
    if (!::mkdtemp(scratch.path_.data())) {
        scratch.path_.clear();
        return fail_errno("--dtask-scratch=" + base + ": no directory can be made in it");
    }
    auto lock = locked(scratch.path_);
    if (!lock) return fail_from(std::move(lock), "--dtask-scratch");
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

// SPDX-License-Identifier: Apache-2.0
//
// Fd: sole owner of a file descriptor, and the few whole-file operations that
// the project needs. Every open is O_CLOEXEC. Sizes are bytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <sys/types.h>

#include "lib/base/result.h"

namespace dtask {

class Fd {
public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd &operator=(Fd &&other) noexcept {
        if (this != &other) reset(std::exchange(other.fd_, -1));
        return *this;
    }
    Fd(const Fd &) = delete;
    Fd &operator=(const Fd &) = delete;
    ~Fd() { reset(); }

    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }
    void reset(int fd = -1);

private:
    int fd_ = -1;
};

/// Both ends of a stream between processes of this machine.
struct SocketPair {
    Fd ours, theirs;
};
Result<SocketPair> socket_pair();

/// Opens `path`; `mode` matters where `flags` has O_CREAT.
Result<Fd> open_file(const std::string &path, int flags, mode_t mode = 0);
/// As open_file, below the directory `dir`.
Result<Fd> open_at(int dir, const std::string &name, int flags, mode_t mode = 0);

/// Reads to the end of file; more than `limit` bytes is an error.
Result<std::string> read_all(int fd, std::size_t limit = 1 << 20);
Result<std::string> read_file(const std::string &path, std::size_t limit = 1 << 20);

/// Writes all of `data`, through short writes and EINTR.
Result<void> write_all(int fd, std::string_view data);

/// Puts `data` at `path` with the given mode so that a reader sees the old
/// file or the whole new one: a temporary beside it is written, synced and
/// renamed. Nothing is left behind on failure.
Result<void> replace_file(const std::string &path, std::string_view data, mode_t mode);

/// As replace_file, but only where there is no file yet: whether it was put there.
Result<bool> create_file(const std::string &path, std::string_view data, mode_t mode);

/// Makes `path` and its missing parents, each with `mode`.
Result<void> make_directories(const std::string &path, mode_t mode);

} // namespace dtask

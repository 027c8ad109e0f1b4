// SPDX-License-Identifier: Apache-2.0
#include "lib/base/fd.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace dtask {

void Fd::reset(int fd) {
    // Linux closes the descriptor even where close() reports EINTR: no retry.
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
}

Result<SocketPair> socket_pair() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return fail_errno("socketpair");
    return SocketPair{Fd(ends[0]), Fd(ends[1])};
}

Result<Fd> open_file(const std::string &path, int flags, mode_t mode) {
    return open_at(AT_FDCWD, path, flags, mode);
}

Result<Fd> open_at(int dir, const std::string &name, int flags, mode_t mode) {
    int fd;
    do {
        fd = ::openat(dir, name.c_str(), flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) return fail_errno(name);
    return Fd(fd);
}

Result<std::string> read_all(int fd, std::size_t limit) {
    std::string data;
    char chunk[16384];
    for (;;) {
        ssize_t n = ::read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno("read");
        if (n == 0) return data;
        if (data.size() + static_cast<std::size_t>(n) > limit)
            return fail("longer than " + std::to_string(limit) + " bytes");
        data.append(chunk, static_cast<std::size_t>(n));
    }
}

Result<std::string> read_file(const std::string &path, std::size_t limit) {
    auto fd = open_file(path, O_RDONLY);
    if (!fd) return fail_from(std::move(fd));
    auto data = read_all(fd->get(), limit);
    if (!data) return fail_from(std::move(data), path);
    return data;
}

Result<void> write_all(int fd, std::string_view data) {
    while (!data.empty()) {
        ssize_t n = ::write(fd, data.data(), data.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno("write");
        data.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
}

namespace {

// Writes `data` to a file beside `path`, which `publish` gives its name; true
// is what was wanted, false that it may not have it.
template <class Publish>
Result<bool> write_aside(const std::string &path, std::string_view data, mode_t mode,
                         Publish publish) {
    std::string temporary = path + ".XXXXXX";
    Fd fd(::mkostemp(temporary.data(), O_CLOEXEC));
    if (!fd) return fail_errno(path);
    auto undo = [&](tl::unexpected<Error> e) -> Result<bool> {
        ::unlink(temporary.c_str());
        return e;
    };
    if (::fchmod(fd.get(), mode) < 0) return undo(fail_errno(temporary));
    if (auto w = write_all(fd.get(), data); !w) return undo(fail_from(std::move(w), path));
    if (::fsync(fd.get()) < 0) return undo(fail_errno(path));
    if (publish(temporary.c_str()) == 0) return true;
    if (errno != EEXIST) return undo(fail_errno(path));
    ::unlink(temporary.c_str());
    return false;
}

} // namespace

Result<void> replace_file(const std::string &path, std::string_view data, mode_t mode) {
    auto done = write_aside(
        path, data, mode, [&](const char *temporary) { return ::rename(temporary, path.c_str()); });
    if (!done) return fail_from(std::move(done));
    return {};
}

Result<bool> create_file(const std::string &path, std::string_view data, mode_t mode) {
    return write_aside(path, data, mode, [&](const char *temporary) {
        if (::link(temporary, path.c_str()) == 0) return ::unlink(temporary);
        if (errno == EEXIST) return -1;
        return ::rename(temporary, path.c_str()); // a file system without links
    });
}

Result<void> make_directories(const std::string &path, mode_t mode) {
    for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
        std::string part = path.substr(0, end);
        if (::mkdir(part.c_str(), mode) < 0 && errno != EEXIST) return fail_errno(part);
        if (end == std::string::npos) return {};
    }
}

} // namespace dtask

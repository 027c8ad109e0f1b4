// SPDX-License-Identifier: Apache-2.0
//
// Dir: an open cgroup directory. Each is opened from the one above it by one
// plain name, with O_NOFOLLOW, so no link and no ".." can lead elsewhere; the
// root and every controller must lie on a file system of the kernel's own.
// Private to lib/cgroup.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "lib/base/fd.h"
#include "lib/cgroup/cgroup.h"

namespace dtask::cgroup {

class Dir {
public:
    /// The directory of a mount, which must be the layout's root or lie below it.
    static Result<Dir> open_mount(const Layout &layout, const Mount &mount);

    /// Down a path of plain names; "" and "/" mean this directory again.
    Result<Dir> down(std::string_view path) const;
    /// The same, and each directory on the way that is `from`'s becomes ours.
    Result<Dir> down(std::string_view path, uid_t from) const;
    /// As down, and nothing where it is not there; any other failure is one.
    Result<std::optional<Dir>> find(std::string_view path) const;
    /// The names of the directories in this one.
    Result<std::vector<std::string>> children() const;
    bool has(const char *name) const;

    /// Makes the child and opens it; one that is there is opened as it is.
    Result<Dir> make(const std::string &name) const;
    /// Removes the child: false where it has processes or children. One that
    /// is not there is removed.
    Result<bool> remove(const std::string &name) const;

    Result<std::string> read(const char *name) const;
    Result<void> write(const char *name, std::string_view text) const;
    /// Hands one file to `uid`.
    Result<void> give(const char *name, uid_t uid) const;
    Result<Fd> open_for_writing(const char *name) const;

    int fd() const { return fd_.get(); }
    Fd release() && { return std::move(fd_); }

private:
    Dir(Fd fd, const Layout &layout)
        : fd_(std::move(fd)), born_(layout.born), dying_(layout.dying) {}
    Dir(Fd fd, const Dir &above) : fd_(std::move(fd)), born_(above.born_), dying_(above.dying_) {}
    Result<std::optional<Dir>> find(std::string_view path, uid_t from) const;
    Result<std::optional<Dir>> find_child(const std::string &name) const;
    Result<Dir> child(const std::string &name) const;
    Result<void> take(uid_t from) const;

    Fd fd_;
    void (*born_)(int);
    void (*dying_)(int);
};

/// Writes in one call, or fails: half of a number would be another number.
Result<void> write_whole(int fd, std::string_view text);

/// Reads a small file below an open directory, trailing newline removed.
Result<std::string> read_at(int directory, const char *name);

/// The first mount below the layout's root that has the controller; v2's
/// single mount where `controller` is empty. nullptr where there is none.
const Mount *find_mount(const Layout &layout, std::string_view controller);

/// Where the process is in the hierarchy of that mount, as seen from its
/// point. Nothing where it is not in it, or outside of what is mounted.
std::optional<std::string> path_in(const Membership &where, const Mount &mount);

} // namespace dtask::cgroup

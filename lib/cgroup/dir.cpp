// SPDX-License-Identifier: Apache-2.0
#include "lib/cgroup/dir.h"

#include <algorithm>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/strings.h"

namespace dtask::cgroup {
namespace {

constexpr int directory_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

bool is_name(std::string_view name) {
    return !name.empty() && name != "." && name != ".." && name.size() <= 255 &&
           name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

enum class Place { root, controller_v1, controller_v2 };

Result<void> check_magic(int fd, Place place) {
    struct statfs fs;
    if (::fstatfs(fd, &fs) < 0) return fail_errno("fstatfs");
    auto type = static_cast<unsigned long>(fs.f_type);
    bool good = place == Place::controller_v1 ? type == CGROUP_SUPER_MAGIC
                : place == Place::controller_v2
                    ? type == CGROUP2_SUPER_MAGIC
                    : type == TMPFS_MAGIC || type == SYSFS_MAGIC || type == CGROUP2_SUPER_MAGIC;
    if (!good) return fail("not a cgroup file system");
    return {};
}

/// `point` as seen from `root`: "" where they are the same.
std::optional<std::string_view> below(std::string_view point, std::string_view root) {
    while (root.ends_with('/')) root.remove_suffix(1);
    if (!point.starts_with(root)) return {};
    point.remove_prefix(root.size());
    if (!point.empty() && !point.starts_with('/')) return {};
    return point;
}

} // namespace

Result<Dir> Dir::open_mount(const Layout &layout, const Mount &mount) {
    auto relative = below(mount.point, layout.root);
    if (!relative) return fail(mount.point + ": not below " + layout.root);
    auto root = open_file(layout.root, directory_flags);
    if (!root) return fail_from(std::move(root));
    auto check = [&](int fd, Place place) -> Result<void> {
        if (!layout.check_magic) return {};
        return check_magic(fd, place);
    };
    if (auto good = check(root->get(), Place::root); !good)
        return fail_from(std::move(good), layout.root);
    auto dir = Dir(std::move(*root), layout).down(*relative);
    if (!dir) return fail_from(std::move(dir), layout.root);
    auto place = mount.v2 ? Place::controller_v2 : Place::controller_v1;
    if (auto good = check(dir->fd(), place); !good) return fail_from(std::move(good), mount.point);
    return dir;
}

Result<std::optional<Dir>> Dir::find_child(const std::string &name) const {
    if (!is_name(name)) return fail("'" + name + "': not a plain name");
    int fd;
    do {
        fd = ::openat(fd_.get(), name.c_str(), directory_flags | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0 && errno == ENOENT) return std::nullopt;
    if (fd < 0) return fail_errno(name);
    return Dir(Fd(fd), *this);
}

Result<Dir> Dir::child(const std::string &name) const {
    auto dir = find_child(name);
    if (!dir) return fail_from(std::move(dir));
    if (!*dir) return fail_errno(name, ENOENT);
    return std::move(**dir);
}

Result<std::optional<Dir>> Dir::find(std::string_view path) const {
    return find(path, ::geteuid());
}

Result<std::optional<Dir>> Dir::find(std::string_view path, uid_t from) const {
    auto self = open_at(fd_.get(), ".", directory_flags);
    if (!self) return fail_from(std::move(self));
    std::optional<Dir> dir(Dir(std::move(*self), *this));
    while (path.starts_with('/')) path.remove_prefix(1);
    if (path.empty()) return dir;
    for (auto name : split(path, '/')) {
        auto next = dir->find_child(std::string(name));
        if (!next || !*next) return next;
        dir = std::move(*next);
        if (auto taken = dir->take(from); !taken) return fail_from(std::move(taken), name);
    }
    return dir;
}

Result<Dir> Dir::down(std::string_view path) const { return down(path, ::geteuid()); }

Result<Dir> Dir::down(std::string_view path, uid_t from) const {
    auto dir = find(path, from);
    if (!dir) return fail_from(std::move(dir));
    if (!*dir) return fail_errno(path, ENOENT);
    return std::move(**dir);
}

Result<void> Dir::take(uid_t from) const {
    auto self = ::geteuid();
    if (from == self) return {};
    struct stat about {};
    if (::fstat(fd_.get(), &about) < 0) return fail_errno("fstat");
    if (about.st_uid != from) return {};
    if (::fchown(fd_.get(), self, static_cast<gid_t>(-1)) < 0) return fail_errno("fchown");
    return {};
}

Result<std::vector<std::string>> Dir::children() const {
    // A descriptor of its own: one that is read has a position.
    auto fd = open_at(fd_.get(), ".", directory_flags);
    if (!fd) return fail_from(std::move(fd));
    std::unique_ptr<DIR, int (*)(DIR *)> stream(::fdopendir(fd->get()), ::closedir);
    if (!stream) return fail_errno("fdopendir");
    (void)fd->release(); // the stream closes it
    std::vector<std::string> names;
    for (;;) {
        errno = 0;
        const auto *entry = ::readdir(stream.get());
        if (!entry && errno != 0) return fail_errno("readdir");
        if (!entry) return names;
        std::string name = entry->d_name;
        if (entry->d_type == DT_DIR && is_name(name)) names.push_back(std::move(name));
    }
}

bool Dir::has(const char *name) const {
    return ::faccessat(fd_.get(), name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

Result<Dir> Dir::make(const std::string &name) const {
    if (!is_name(name)) return fail("'" + name + "': not a plain name");
    bool made = ::mkdirat(fd_.get(), name.c_str(), 0755) == 0;
    if (!made && errno != EEXIST) return fail_errno(name);
    auto dir = child(name);
    if (dir && made && born_) born_(dir->fd());
    return dir;
}

Result<bool> Dir::remove(const std::string &name) const {
    if (!is_name(name)) return fail("'" + name + "': not a plain name");
    if (dying_)
        if (auto dir = child(name)) dying_(dir->fd());
    if (::unlinkat(fd_.get(), name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return true;
    if (errno == EBUSY || errno == ENOTEMPTY) return false;
    return fail_errno(name);
}

Result<void> write_whole(int fd, std::string_view text) {
    ssize_t n;
    do {
        n = ::write(fd, text.data(), text.size());
    } while (n < 0 && errno == EINTR);
    if (n < 0) return fail_errno("write");
    if (static_cast<std::size_t>(n) != text.size()) return fail("write: cut short");
    return {};
}

Result<std::string> read_at(int directory, const char *name) {
    auto fd = open_at(directory, name, O_RDONLY | O_NOFOLLOW);
    if (!fd) return fail_from(std::move(fd));
    auto text = read_all(fd->get(), 1 << 16);
    if (!text) return fail_from(std::move(text), name);
    if (text->ends_with('\n')) text->pop_back();
    return text;
}

Result<std::string> Dir::read(const char *name) const { return read_at(fd_.get(), name); }

Result<Fd> Dir::open_for_writing(const char *name) const {
    return open_at(fd_.get(), name, O_WRONLY | O_NOFOLLOW);
}

Result<void> Dir::write(const char *name, std::string_view text) const {
    auto fd = open_at(fd_.get(), name, O_WRONLY | O_TRUNC | O_NOFOLLOW);
    if (!fd) return fail_from(std::move(fd));
    if (auto done = write_whole(fd->get(), text); !done) return fail_from(std::move(done), name);
    return {};
}

Result<void> Dir::give(const char *name, uid_t uid) const {
    auto fd = open_for_writing(name);
    if (!fd) return fail_from(std::move(fd));
    if (::fchown(fd->get(), uid, static_cast<gid_t>(-1)) < 0) return fail_errno(name);
    return {};
}

const Mount *find_mount(const Layout &layout, std::string_view controller) {
    for (const auto &mount : layout.mounts) {
        if (!below(mount.point, layout.root)) continue;
        if (controller.empty()
                ? mount.v2
                : std::ranges::find(mount.controllers, controller) != mount.controllers.end())
            return &mount;
    }
    return nullptr;
}

std::optional<std::string> path_in(const Membership &where, const Mount &mount) {
    for (const auto &member : where) {
        bool same = mount.v2 ? member.hierarchy == 0 && member.controllers.empty()
                             : !mount.controllers.empty() &&
                                   std::ranges::find(member.controllers, mount.controllers[0]) !=
                                       member.controllers.end();
        if (!same) continue;
        auto seen = below(member.path, mount.root);
        if (!seen) return {};
        return std::string(*seen);
    }
    return {};
}

} // namespace dtask::cgroup

// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/store.h"

#include <cstdio>
#include <filesystem>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <fmt/format.h>

namespace dtask::worker {

namespace {

// All but hidden files: a launcher's mark of the directory is one.
Result<void> empty(const std::string &directory) {
    std::error_code error;
    std::filesystem::directory_iterator entries(directory, error);
    for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
        const auto &path = entries->path();
        std::error_code ignored; // what cannot be removed is in nobody's way
        if (!path.filename().string().starts_with('.')) std::filesystem::remove_all(path, ignored);
    }
    if (error) return fail(directory + ": " + error.message());
    return {};
}

} // namespace

bool Store::is_memory(const std::string &directory) {
    struct statfs about {};
    if (::statfs(directory.c_str(), &about) < 0) return false;
    return about.f_type == TMPFS_MAGIC || about.f_type == RAMFS_MAGIC;
}

Result<Store> Store::open(Place place) {
    Store store;
    if (place.directory.empty()) return store;
    if (auto done = empty(place.directory); !done) return fail_from(std::move(done), "store");
    if (!place.spill.empty()) {
        auto made = make_directories(place.spill, 0700);
        if (made) made = empty(place.spill);
        if (!made) return fail_from(std::move(made), "store");
    }
    store.place_ = std::move(place);
    return store;
}

std::string Store::path_of(std::uint64_t data) const {
    return place_.directory + '/' + std::to_string(data);
}

std::string Store::spilled_path_of(std::uint64_t data) const {
    return place_.spill + '/' + std::to_string(data);
}

Result<void> Store::add(std::uint64_t data, std::uint64_t size, Origin origin) {
    if (!keeps()) return fail("this worker keeps no values");
    if (auto there = check(path_of(data), size); !there) return there;
    forget(data); // made once more: the new file has taken the place of the old one
    Value value{size, ++last_stamp_, origin, place_.in_memory};
    bytes_ += size;
    if (value.in_memory) {
        in_memory_ += size;
        if (origin == Origin::fetched) fetched_ += size;
        value.use = order_.insert(order_.end(), data);
    }
    values_.emplace(data, value);
    return {};
}

Result<void> Store::check(const std::string &path, std::uint64_t size) {
    struct stat about {};
    if (::lstat(path.c_str(), &about) < 0) return fail_errno(path);
    if (!S_ISREG(about.st_mode) || static_cast<std::uint64_t>(about.st_size) != size)
        return fail(path + ": no file of " + std::to_string(size) + " bytes");
    return {};
}

Result<void> Store::add_spilled(std::uint64_t data, std::uint64_t size) {
    if (!can_spill()) return fail("this worker moves no values to disk");
    if (auto there = check(spilled_path_of(data), size); !there) return there;
    if (auto linked = link_spilled(data); !linked) return linked;
    if (auto before = values_.find(data); before != values_.end()) {
        before->second.spilled = false; // made once more: the new file has taken its place
        forget(data);
    }
    Value value{size, ++last_stamp_, Origin::fetched};
    value.spilled = true;
    bytes_ += size;
    values_.emplace(data, value);
    return {};
}

// What is there of it in the scratch directory goes too.
void Store::forget(std::uint64_t data) {
    auto found = values_.find(data);
    if (found == values_.end()) return;
    if (found->second.spilled) ::unlink(spilled_path_of(data).c_str());
    leave_memory(found->second);
    bytes_ -= found->second.size;
    values_.erase(found);
}

void Store::leave_memory(Value &value) {
    if (!value.in_memory) return;
    value.in_memory = false;
    in_memory_ -= value.size;
    if (value.origin == Origin::fetched) fetched_ -= value.size;
    order_.erase(value.use);
}

void Store::free(std::uint64_t data) {
    if (!has(data)) return;
    ::unlink(path_of(data).c_str());
    forget(data);
}

void Store::clear_up(std::uint64_t task, pid_t executor) {
    if (!keeps()) return;
    ::unlink((path_of(task) + '.' + std::to_string(executor)).c_str());
    if (!has(task)) ::unlink(path_of(task).c_str()); // named, but never told
    if (!can_spill()) return;
    ::unlink((spilled_path_of(task) + '.' + std::to_string(executor)).c_str());
    if (!has(task)) ::unlink(spilled_path_of(task).c_str());
}

bool Store::holds(const Ref &ref) const {
    auto found = values_.find(ref.data);
    return found != values_.end() && found->second.stamp == ref.stamp;
}

void Store::touch(std::uint64_t data) {
    auto found = values_.find(data);
    if (found == values_.end() || !found->second.in_memory) return;
    order_.splice(order_.end(), order_, found->second.use);
}

Result<Fd> Store::open_value(std::uint64_t data) {
    if (!has(data)) return fail("value " + std::to_string(data) + " is not here");
    touch(data);
    return open_file(path_of(data), O_RDONLY);
}

std::optional<Store::Ref> Store::oldest() const {
    if (order_.empty()) return {};
    const auto &value = values_.at(order_.front());
    return Ref{order_.front(), value.size, value.stamp};
}

// In one step: whoever opens the value has the one file or the other.
Result<void> Store::link_spilled(std::uint64_t data) {
    auto path = path_of(data), link = path + ".link";
    ::unlink(link.c_str());
    if (::symlink(spilled_path_of(data).c_str(), link.c_str()) < 0) return fail_errno(link);
    if (::rename(link.c_str(), path.c_str()) < 0) {
        auto error = fail_errno(path);
        ::unlink(link.c_str());
        return error;
    }
    return {};
}

Result<void> Store::spilled(const Ref &ref) {
    if (auto linked = link_spilled(ref.data); !linked) return linked;
    auto &value = values_.at(ref.data);
    leave_memory(value);
    value.spilled = true;
    return {};
}

std::uint64_t Store::shortage() const {
    struct statvfs about {};
    if (!place_.in_memory || ::statvfs(place_.directory.c_str(), &about) < 0) return 0;
    auto least = static_cast<std::uint64_t>(static_cast<double>(about.f_blocks) * place_.reserve);
    return about.f_bavail < least ? (least - about.f_bavail) * about.f_frsize : 0;
}

std::string Store::room_text() const {
    std::string text;
    for (const auto &place : {place_.directory, can_spill() ? place_.spill : std::string()}) {
        struct statvfs about {};
        if (place.empty() || ::statvfs(place.c_str(), &about) < 0) continue;
        auto mib = [&](auto blocks) {
            return static_cast<double>(blocks) * static_cast<double>(about.f_frsize) / (1 << 20);
        };
        text += fmt::format("{}{} has {:.1f} of {:.1f} MiB free", text.empty() ? "" : ", ", place,
                            mib(about.f_bavail), mib(about.f_blocks));
    }
    return text;
}

bool Store::has_room(std::uint64_t size) const {
    struct statvfs about {};
    if (!place_.in_memory || ::statvfs(place_.directory.c_str(), &about) < 0) return true;
    auto least = static_cast<double>(about.f_blocks) * place_.reserve;
    auto left = (static_cast<double>(about.f_bavail) - least) * static_cast<double>(about.f_frsize);
    return static_cast<double>(size) <= left;
}

} // namespace dtask::worker

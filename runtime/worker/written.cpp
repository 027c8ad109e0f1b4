// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/written.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace dtask::worker {

namespace {

constexpr std::size_t most_at_once = 1u << 20;
constexpr std::size_t kept = 64u << 10; // of what was told
constexpr std::size_t page = 4096;

std::size_t size_of(const Fd &file) {
    struct stat about {};
    if (!file || ::fstat(file.get(), &about) < 0 || about.st_size <= 0) return 0;
    return static_cast<std::size_t>(about.st_size);
}

std::string read_at(const Fd &file, std::size_t from, std::size_t count) {
    std::string text(count, '\0');
    std::size_t got = 0;
    while (got < count) {
        ssize_t n =
            ::pread(file.get(), text.data() + got, count - got, static_cast<off_t>(from + got));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        got += static_cast<std::size_t>(n);
    }
    text.resize(got);
    return text;
}

} // namespace

std::string read_first(const Fd &file, std::size_t from, std::size_t most, std::uint64_t &lost) {
    auto size = size_of(file);
    if (size <= from) return {};
    auto text = read_at(file, from, std::min(size - from, most));
    lost += size - from - text.size();
    return text;
}

std::string read_last(const Fd &file, std::size_t most) {
    auto size = size_of(file);
    auto count = std::min(size, most);
    return count == 0 ? std::string() : read_at(file, size - count, count);
}

std::string take_lines(const Fd &file, std::size_t &told) {
    auto size = size_of(file);
    if (size <= told) return {};
    auto text = read_at(file, told, std::min(size - told, most_at_once));
    auto end = text.rfind('\n');
    if (end == text.npos && text.size() < most_at_once) return {};
    if (end != text.npos) text.resize(end + 1);
    told += text.size();
    if (told > kept)
        (void)::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                          static_cast<off_t>((told - kept) / page * page));
    return text;
}

} // namespace dtask::worker

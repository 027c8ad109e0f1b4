// SPDX-License-Identifier: Apache-2.0
#include "runtime/doctor/host.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>
#include <utility>

#include <elf.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <fmt/format.h>

#include "lib/base/fd.h"
#include "lib/base/net.h"
#include "lib/base/strings.h"
#include "lib/cgroup/cgroup.h"

namespace dtask::doctor {

namespace {

// statfs(2), and the headers of those that are not in the kernel.
constexpr std::pair<unsigned long, const char *> shared_filesystems[] = {
    {0x01021994, "tmpfs"}, {0x6969, "nfs"},      {0x0BD00BD0, "lustre"},   {0x47504653, "gpfs"},
    {0xFF534D42, "cifs"},  {0xFE534D42, "smb2"}, {0x19830326, "beegfs"},   {0x00c36400, "ceph"},
    {0x01161970, "gfs2"},  {0x65735546, "fuse"}, {0x20030528, "orangefs"},
};

// Whoever may write to a directory that is not sticky may put another file in this one's place.
std::string loose_directory(const std::string &path) {
    for (std::filesystem::path up = std::filesystem::path(path).parent_path();;
         up = up.parent_path()) {
        struct stat info {};
        if (::stat(up.c_str(), &info) == 0 &&
            (info.st_uid != 0 ||
             ((info.st_mode & (S_IWGRP | S_IWOTH)) && !(info.st_mode & S_ISVTX))))
            return up;
        if (up == up.parent_path()) return {};
    }
}

} // namespace

FileFact look_at_file(const std::string &path) {
    FileFact fact;
    fact.path = path;
    std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr), &std::free);
    struct stat info {};
    if (!real || ::stat(real.get(), &info) < 0) {
        fact.missing = std::strerror(errno);
        return fact;
    }
    if (!S_ISREG(info.st_mode)) {
        fact.missing = "it is no file";
        return fact;
    }
    fact.path = real.get();
    fact.owner = info.st_uid;
    fact.mode = info.st_mode;
    fact.loose_directory = loose_directory(fact.path);
    return fact;
}

Directory look_at_directory(const std::string &path) {
    Directory fact;
    fact.path = path;
    Fd probe(::open(path.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
    // Not every file system has files without a name.
    if (!probe && (errno != EOPNOTSUPP && errno != EISDIR)) fact.unusable = std::strerror(errno);
    if (!probe && fact.unusable.empty() && ::access(path.c_str(), W_OK | X_OK) < 0)
        fact.unusable = std::strerror(errno);
    struct statvfs space {};
    if (::statvfs(path.c_str(), &space) == 0) {
        fact.free = std::uint64_t{space.f_bavail} * space.f_frsize;
        fact.size = std::uint64_t{space.f_blocks} * space.f_frsize;
    }
    struct statfs kind {};
    if (::statfs(path.c_str(), &kind) == 0)
        for (auto [magic, name] : shared_filesystems)
            if (magic == (static_cast<unsigned long>(kind.f_type) & UINT32_MAX))
                fact.filesystem = name;
    return fact;
}

std::vector<Interface> interfaces() {
    ifaddrs *list = nullptr;
    if (::getifaddrs(&list) < 0) return {};
    std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, &::freeifaddrs);
    std::vector<Interface> found;
    for (auto *one = list; one; one = one->ifa_next) {
        auto known = std::ranges::find(found, one->ifa_name, &Interface::name);
        if (known == found.end()) {
            found.push_back({one->ifa_name,
                             (one->ifa_flags & IFF_UP) != 0,
                             (one->ifa_flags & IFF_LOOPBACK) != 0,
                             {}});
            known = found.end() - 1;
        }
        if (!one->ifa_addr) continue;
        auto address = numeric_address(one->ifa_addr);
        if (!address.empty()) known->addresses.push_back(std::move(address));
    }
    return found;
}

// proc(5): the second word is the address and the port in hexadecimal, the fourth the state.
unsigned busy_ports(unsigned first, unsigned last) {
    std::set<unsigned long> busy;
    for (const char *file : {"/proc/net/tcp", "/proc/net/tcp6"}) {
        auto text = read_file(file, 64 << 20);
        if (!text) continue;
        for (auto line : split(*text, '\n')) {
            auto words = split(trim(line), ' ');
            if (words.size() < 4 || words[3] != "0A") continue;
            auto port = std::strtoul(std::string(words[1].substr(words[1].rfind(':') + 1)).c_str(),
                                     nullptr, 16);
            if (port >= first && port <= last) busy.insert(port);
        }
    }
    return static_cast<unsigned>(busy.size());
}

Result<std::string> slurm_of_plugin(const std::string &path) {
    auto read = read_file(path, 64 << 20);
    if (!read) return fail_from(std::move(read));
    const std::string &file = *read;
    auto at = [&](std::uint64_t offset, auto &into) {
        if (offset > file.size() || sizeof into > file.size() - offset) return false;
        std::memcpy(&into, file.data() + offset, sizeof into);
        return true;
    };
    Elf64_Ehdr header{};
    if (!at(0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64)
        return fail("it is no plugin for this machine");
    auto section = [&](std::uint64_t n, Elf64_Shdr &into) {
        return n < header.e_shnum && at(header.e_shoff + n * sizeof(Elf64_Shdr), into);
    };
    for (std::uint64_t n = 0; n < header.e_shnum; n++) {
        Elf64_Shdr symbols{}, names{};
        if (!section(n, symbols) || symbols.sh_type != SHT_DYNSYM ||
            !section(symbols.sh_link, names))
            continue;
        for (std::uint64_t s = 0; s < symbols.sh_size / sizeof(Elf64_Sym); s++) {
            Elf64_Sym symbol{};
            if (!at(symbols.sh_offset + s * sizeof symbol, symbol)) break;
            constexpr std::string_view wanted("plugin_version\0", 15);
            auto name = names.sh_offset + symbol.st_name;
            if (name > file.size() || file.compare(name, wanted.size(), wanted) != 0) continue;
            Elf64_Shdr place{};
            std::uint32_t version = 0;
            if (!section(symbol.st_shndx, place) ||
                !at(place.sh_offset + symbol.st_value - place.sh_addr, version))
                break;
            return fmt::format("{}.{:02}", version >> 16, version >> 8 & 0xff);
        }
    }
    return fail("it is no SPANK plugin");
}

void look_at_cgroups(Facts &facts, const std::string &root) {
    auto layout = cgroup::system_layout(root);
    if (layout)
        for (const auto &mount : layout->mounts)
            facts.controllers.insert(facts.controllers.end(), mount.controllers.begin(),
                                     mount.controllers.end());
    auto driver = layout ? cgroup::make_driver(std::move(*layout))
                         : Result<std::unique_ptr<cgroup::Driver>>(fail_from(std::move(layout)));
    if (!driver) {
        facts.no_cgroup = driver.error().text();
        return;
    }
    facts.cgroup_version = (*driver)->version();
    if (facts.cgroup_version == 2) {
        facts.controllers.clear();
        if (auto text = read_file(root + "/cgroup.controllers"))
            for (auto name : split(trim(*text), ' ')) facts.controllers.emplace_back(name);
    } else {
        auto hierarchy = read_file(root + "/memory/memory.use_hierarchy");
        facts.hierarchy = !hierarchy || trim(*hierarchy) != "0";
        facts.swap_limited =
            ::access((root + "/memory/memory.memsw.limit_in_bytes").c_str(), F_OK) == 0;
    }
    auto swaps = read_file("/proc/swaps");
    facts.swap = swaps && std::ranges::count(*swaps, '\n') > 1;
}

} // namespace dtask::doctor

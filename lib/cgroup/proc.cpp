// SPDX-License-Identifier: Apache-2.0
//
// What /proc says about cgroups: pure parsers, and the two reads that feed them.
#include "lib/cgroup/cgroup.h"

#include <fcntl.h>

#include "lib/base/strings.h"

namespace dtask::cgroup {
namespace {

constexpr std::string_view child = "/dtask";

bool is_path(std::string_view path) {
    return path.starts_with('/') && path.size() < 4096 && path.find('\0') == std::string_view::npos;
}

/// Lines of `text`; an empty one at the end does not count.
std::vector<std::string_view> lines(std::string_view text) {
    auto all = split(text, '\n');
    if (all.back().empty()) all.pop_back();
    return all;
}

std::vector<std::string> names(std::string_view list) {
    std::vector<std::string> all;
    if (list.empty()) return all;
    for (auto name : split(list, ',')) all.emplace_back(name);
    return all;
}

/// mountinfo writes blank, tab, newline and backslash as \ooo.
std::optional<std::string> unescape_octal(std::string_view text) {
    auto octal = [](char c) { return c >= '0' && c <= '7'; };
    std::string plain;
    for (std::size_t i = 0; i < text.size(); i++) {
        if (text[i] != '\\') {
            plain += text[i];
            continue;
        }
        if (i + 3 >= text.size() || !octal(text[i + 1]) || !octal(text[i + 2]) ||
            !octal(text[i + 3]))
            return {};
        int code = (text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0');
        if (code == 0 || code > 255) return {};
        plain += static_cast<char>(code);
        i += 3;
    }
    return plain;
}

/// v1 mount options that name no controller.
bool is_controller(std::string_view option) {
    for (std::string_view other :
         {"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "nsdelegate",
          "memory_recursiveprot", "favordynmods", "seclabel", "relatime"})
        if (option == other) return false;
    return !option.empty() && option.find('=') == std::string_view::npos;
}

} // namespace

Result<Membership> parse_membership(std::string_view text) {
    Membership all;
    std::size_t number = 0;
    for (auto line : lines(text)) {
        auto where = "cgroup line " + std::to_string(++number);
        auto first = line.find(':');
        auto second = first == line.npos ? line.npos : line.find(':', first + 1);
        if (second == line.npos) return fail(where + ": not number:controllers:path");
        auto hierarchy = parse_uint(line.substr(0, first), UINT32_MAX);
        if (!hierarchy) return fail(where + ": no hierarchy number");
        auto path = line.substr(second + 1);
        if (!is_path(path)) return fail(where + ": no path");
        all.push_back({static_cast<std::uint32_t>(*hierarchy),
                       names(line.substr(first + 1, second - first - 1)), std::string(path)});
    }
    return all;
}

Result<std::vector<Mount>> parse_mounts(std::string_view mountinfo) {
    // ID PARENT MAJ:MIN ROOT POINT OPTIONS [OPTIONAL...] - TYPE SOURCE SUPEROPTIONS
    std::vector<Mount> mounts;
    std::size_t number = 0;
    for (auto line : lines(mountinfo)) {
        auto where = "mountinfo line " + std::to_string(++number);
        auto dash = line.find(" - ");
        if (dash == line.npos) return fail(where + ": no separator");
        auto left = split(line.substr(0, dash), ' ');
        auto right = split(line.substr(dash + 3), ' ');
        if (left.size() < 6 || right.size() < 2) return fail(where + ": too few fields");
        if (right[0] != "cgroup" && right[0] != "cgroup2") continue;
        if (right.size() < 3) return fail(where + ": too few fields");

        auto root = unescape_octal(left[3]);
        auto point = unescape_octal(left[4]);
        if (!root || !point || !is_path(*root) || !is_path(*point))
            return fail(where + ": no path");
        Mount mount{std::move(*root), std::move(*point), right[0] == "cgroup2", {}};
        if (!mount.v2)
            for (auto option : split(right[2], ','))
                if (is_controller(option)) mount.controllers.emplace_back(option);
        mounts.push_back(std::move(mount));
    }
    return mounts;
}

std::optional<std::string> own_task_path(std::string_view path) {
    if (path.ends_with(child)) path.remove_suffix(child.size());
    auto slash = path.rfind('/');
    if (slash == path.npos) return {};
    auto last = path.substr(slash + 1);
    constexpr std::string_view prefix = "task_";
    if (!last.starts_with(prefix) || !parse_uint(last.substr(prefix.size()), UINT32_MAX)) return {};
    return std::string(path);
}

Result<Layout> system_layout(const std::string &root) {
    auto text = read_file("/proc/self/mountinfo");
    if (!text) return fail_from(std::move(text));
    auto mounts = parse_mounts(*text);
    if (!mounts) return fail_from(std::move(mounts));
    Layout layout;
    layout.root = root;
    layout.mounts = std::move(*mounts);
    return layout;
}

Result<Membership> membership_of(pid_t pid) {
    auto path = "/proc/" + (pid > 0 ? std::to_string(pid) : std::string("self")) + "/cgroup";
    auto text = read_file(path);
    if (!text) return fail_from(std::move(text));
    return parse_membership(*text);
}

} // namespace dtask::cgroup

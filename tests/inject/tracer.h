// SPDX-License-Identifier: Apache-2.0
//
// Tracer: runs a function in a child process, stops it at each of its system
// calls (ptrace), has one of them fail, and judges the others: by what the call
// names, not by what the code says that it does.
//
//   Marks     the function tells by marks where a hook of the plugin begins and
//             ends; only calls in between are counted, made to fail and judged
//   Judged    no change of anything outside Stage::root, no file read but the
//             kernel's own, no process, program or socket, each hook's return
//             value, and the same descriptors open after it as before
//   Stage     where `mountinfo` is not empty, plain directories play cgroupfs:
//             /proc/.../mountinfo and /proc/.../cgroup are read from these
//             texts, statfs tells the kernel's numbers, and a group that is made
//             is born with its files, which don't keep it from being removed
#pragma once

#include <cstddef>
#include <functional>
#include <set>
#include <string>
#include <vector>

namespace dtask::inject {

/// Which call of the run goes wrong, counted from 1; 0: none does.
struct Fault {
    enum class Kind {
        error,     ///< it is not done and fails with `error`
        shortened, ///< a read or write is done with one byte
        killed,    ///< the process dies of SIGKILL instead
    };
    std::size_t nth = 0;
    Kind kind = Kind::error;
    int error = 0;
};

struct Stage {
    std::string root; ///< an absolute path without links
    std::string mountinfo, membership;
    bool v2 = false;
};

struct Outcome {
    std::size_t calls = 0;           ///< in the hooks
    std::set<std::size_t> transfers; ///< which of them read or write several bytes
    std::set<std::size_t> changes;   ///< which of them change something
    std::string broken;              ///< "NAME in HOOK": the call that went wrong
    std::vector<std::string> wrong;  ///< what was judged so, and how the process ended
};

/// Runs `body` in a child, which ends with 0 if nothing is wrong.
Outcome trace(const Stage &stage, const Fault &fault, const std::function<void()> &body);

/// In the child: a hook's call, which may return -1 where `may_fail`, else 0 only.
void hook(const char *name, bool may_fail, const std::function<int()> &call);

} // namespace dtask::inject

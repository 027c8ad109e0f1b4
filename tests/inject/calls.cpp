// SPDX-License-Identifier: Apache-2.0
#include "tests/inject/calls.h"

#include <fcntl.h>
#include <sys/syscall.h>

namespace dtask::inject {
namespace {

struct Known {
    long number;
    const char *name;
    Kind kind;
    Operands operands;
};

constexpr Known known[]{
    {SYS_openat, "openat", Kind::reads, {0, 1}}, // changes by its flags
    {SYS_read, "read", Kind::harmless, {0, -1}},
    {SYS_pread64, "pread64", Kind::harmless, {0, -1}},
    {SYS_close, "close", Kind::harmless, {0, -1}},
    {SYS_lseek, "lseek", Kind::harmless, {0, -1}},
    {SYS_fstat, "fstat", Kind::harmless, {0, -1}},
    {SYS_newfstatat, "newfstatat", Kind::harmless, {0, 1}},
    {SYS_statx, "statx", Kind::harmless, {0, 1}},
    {SYS_fstatfs, "fstatfs", Kind::harmless, {0, -1}},
    {SYS_getdents64, "getdents64", Kind::harmless, {0, -1}},
    {SYS_fcntl, "fcntl", Kind::harmless, {0, -1}},
    {SYS_faccessat, "faccessat", Kind::harmless, {0, 1}},
    {SYS_faccessat2, "faccessat2", Kind::harmless, {0, 1}},
#ifdef SYS_access
    {SYS_access, "access", Kind::harmless, {-1, 0}},
#endif
    {SYS_getcwd, "getcwd", Kind::harmless, {}},
    {SYS_getpid, "getpid", Kind::harmless, {}},
    {SYS_geteuid, "geteuid", Kind::harmless, {}},
    {SYS_sched_getaffinity, "sched_getaffinity", Kind::harmless, {}},
    {SYS_clock_nanosleep, "clock_nanosleep", Kind::harmless, {}},
    {SYS_nanosleep, "nanosleep", Kind::harmless, {}},
    {SYS_futex, "futex", Kind::harmless, {}},
    {SYS_brk, "brk", Kind::harmless, {}},
    {SYS_mmap, "mmap", Kind::harmless, {}},
    {SYS_munmap, "munmap", Kind::harmless, {}},
    {SYS_mremap, "mremap", Kind::harmless, {}},
    {SYS_mprotect, "mprotect", Kind::harmless, {}},
    {SYS_madvise, "madvise", Kind::harmless, {}},
    {SYS_write, "write", Kind::changes, {0, -1}},
    {SYS_fchown, "fchown", Kind::changes, {0, -1}},
    {SYS_mkdirat, "mkdirat", Kind::changes, {0, 1}},
    {SYS_unlinkat, "unlinkat", Kind::changes, {0, 1}},
    // Foreign, but with a name and an operand for the message.
    {SYS_openat2, "openat2", Kind::foreign, {0, 1}},
    {SYS_ftruncate, "ftruncate", Kind::foreign, {0, -1}},
    {SYS_fchmod, "fchmod", Kind::foreign, {0, -1}},
    {SYS_fchmodat, "fchmodat", Kind::foreign, {0, 1}},
    {SYS_fchownat, "fchownat", Kind::foreign, {0, 1}},
    {SYS_renameat2, "renameat2", Kind::foreign, {0, 1}},
    {SYS_linkat, "linkat", Kind::foreign, {0, 1}},
    {SYS_symlinkat, "symlinkat", Kind::foreign, {1, 2}},
    {SYS_clone, "clone", Kind::foreign, {}},
    {SYS_clone3, "clone3", Kind::foreign, {}},
    {SYS_execve, "execve", Kind::foreign, {-1, 0}},
    {SYS_socket, "socket", Kind::foreign, {}},
    {SYS_kill, "kill", Kind::foreign, {}},
    {SYS_mount, "mount", Kind::foreign, {-1, 1}},
};

const Known *find(long number) {
    for (const auto &one : known)
        if (one.number == number) return &one;
    return nullptr;
}

} // namespace

Kind kind_of(long number, const std::array<std::uint64_t, 6> &args) {
    const auto *one = find(number);
    if (!one) return Kind::foreign;
    bool writes = (args[2] & (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND)) != O_RDONLY;
    if (number == SYS_openat && writes) return Kind::changes;
    return one->kind;
}

Operands operands_of(long number) {
    const auto *one = find(number);
    return one ? one->operands : Operands();
}

std::string name_of(long number) {
    const auto *one = find(number);
    return one ? one->name : "call " + std::to_string(number);
}

bool is_of_memory(long number) {
    return number == SYS_brk || number == SYS_mmap || number == SYS_munmap ||
           number == SYS_mremap || number == SYS_mprotect || number == SYS_madvise;
}

bool is_transfer(long number) { return number == SYS_read || number == SYS_write; }

bool is_removal(long number) { return number == SYS_unlinkat; }

bool is_exit(long number) { return number == SYS_exit || number == SYS_exit_group; }

} // namespace dtask::inject

// SPDX-License-Identifier: Apache-2.0
#include "lib/base/quick.h"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <memory>

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/spawn.h"

namespace dtask {

namespace {

constexpr std::size_t stack_size = 64 << 10;
constexpr int last_signal = 31; // those above are nobody's but a program's own

struct Birth {
    const QuickSpec *spec;
    char *const *shell; ///< argv where the file has no format that the kernel knows
    const rlimit *descriptors;
    pid_t parent;
    QuickFailure failure;
};

bool to(int fd, int place) {
    if (fd < 0) return true;
    if (fd == place) return ::fcntl(fd, F_SETFD, 0) == 0;
    return ::dup2(fd, place) == place;
}

// The sanitizer does not know a stack that is left for good by a function that never returns.
[[noreturn]] [[gnu::no_sanitize_address]] void give_up(Birth &birth, bool directory = false) {
    birth.failure = {errno, directory, 0};
    ::_exit(exit_code::not_found);
}

// In our memory, while we wait: system calls only, and nothing that outlives them.
[[gnu::no_sanitize_address]] int child(void *argument) {
    auto &birth = *static_cast<Birth *>(argument);
    const auto &spec = *birth.spec;
    if (::setpgid(0, 0) < 0) give_up(birth);
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) give_up(birth);
    if (::getppid() != birth.parent) ::_exit(exit_code::signal_base + SIGKILL);
    for (int fd : spec.join_fds)
        if (fd >= 0 && ::write(fd, "0", 1) != 1) give_up(birth);
    if (!spec.oom_score_adj.empty()) {
        int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        if (fd >= 0) {
            (void)!::write(fd, spec.oom_score_adj.data(), spec.oom_score_adj.size());
            ::close(fd);
        }
    }
    if (!to(spec.input, STDIN_FILENO) || !to(spec.output, STDOUT_FILENO) ||
        !to(spec.errors, STDERR_FILENO))
        give_up(birth);
    if (spec.directory && ::chdir(spec.directory) < 0) give_up(birth, true);
    // The handlers are copies, and would run in our memory.
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    for (int number = 1; number <= last_signal; number++)
        if (number != SIGKILL && number != SIGSTOP) ::sigaction(number, &standard, nullptr);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (birth.descriptors && ::setrlimit(RLIMIT_NOFILE, birth.descriptors) < 0) give_up(birth);
    ::execve(spec.program, spec.argv, spec.env);
    if (errno == ENOEXEC) ::execve("/bin/sh", birth.shell, spec.env);
    give_up(birth);
}

} // namespace

tl::expected<pid_t, QuickFailure> spawn_quickly(const QuickSpec &spec) {
    static const std::unique_ptr<char[]> stack(new char[stack_size]); // one thread, one at a time
    static char shell_name[] = "sh";
    std::vector<char *> shell{shell_name, const_cast<char *>(spec.program)};
    for (auto *argument = spec.argv + 1; *spec.argv && *argument; argument++)
        shell.push_back(*argument);
    shell.push_back(nullptr);

    Birth birth{&spec,
                shell.data(),
                inherited_descriptor_limit(),
                spec.parent > 0 ? spec.parent : ::getpid(),
                {}};
    sigset_t all, before;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, &before);
    auto *top = stack.get() + stack_size;
    top -= reinterpret_cast<std::uintptr_t>(top) % 16;
    int sibling = spec.parent > 0 ? CLONE_PARENT : 0;
    pid_t pid = ::clone(child, top, CLONE_VM | CLONE_VFORK | sibling | SIGCHLD, &birth);
    int error = errno;
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    if (pid < 0) return tl::unexpected<QuickFailure>({error, false, 0});
    if (birth.failure.error == 0) return pid;
    if (sibling) {
        birth.failure.pid = pid;
        return tl::unexpected<QuickFailure>(birth.failure);
    }
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return tl::unexpected<QuickFailure>(birth.failure);
}

} // namespace dtask

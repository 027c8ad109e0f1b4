// SPDX-License-Identifier: Apache-2.0
#include "lib/base/spawn.h"

#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/fd.h"
#include "lib/base/strings.h"

namespace dtask {

namespace {

constexpr int passed_fd = 3;

std::optional<rlimit> inherited_descriptors; ///< once they were raised

// In the child, before exec. Reports errno to the parent and ends.
[[noreturn]] void give_up(int report) {
    int error = errno;
    (void)!::write(report, &error, sizeof error);
    ::_exit(exit_code::not_found);
}

bool write_text(const char *path, const char *text, std::size_t length) {
    int fd = ::open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool ok = ::write(fd, text, length) == static_cast<ssize_t>(length);
    ::close(fd);
    return ok;
}

[[noreturn]] void child(const SpawnSpec &spec, char *const *argv, char *const *env,
                        const char *oom_score, pid_t parent, int report) {
    if (spec.new_group && ::setpgid(0, 0) < 0) give_up(report);
    if (spec.death_signal) {
        if (::prctl(PR_SET_PDEATHSIG, spec.death_signal) < 0) give_up(report);
        if (::getppid() != parent)
            ::_exit(exit_code::signal_base + SIGKILL); // too late: it is gone
    }
    for (int fd : spec.join_fds)
        if (fd >= 0 && ::write(fd, "0", 1) != 1) give_up(report);
    // Raising one's own score needs no privilege; where it fails nothing is lost.
    if (*oom_score) (void)write_text("/proc/self/oom_score_adj", oom_score, std::strlen(oom_score));
    if (spec.cpus && ::sched_setaffinity(0, sizeof *spec.cpus, &*spec.cpus) < 0) give_up(report);
    if (spec.null_stdin) {
        int null = ::open("/dev/null", O_RDONLY);
        if (null < 0 || ::dup2(null, STDIN_FILENO) < 0) give_up(report);
        if (null > STDERR_FILENO) ::close(null);
    }
    if (spec.pass_fd == passed_fd) {
        if (::fcntl(passed_fd, F_SETFD, 0) < 0) give_up(report);
    } else if (spec.pass_fd >= 0) {
        // The report pipe may stand on descriptor 3 itself.
        if (report == passed_fd) report = ::fcntl(report, F_DUPFD_CLOEXEC, passed_fd + 1);
        if (::dup2(spec.pass_fd, passed_fd) < 0) give_up(report);
    }
    // Whatever the parent handles or blocks is its own affair.
    for (int number = 1; number < NSIG; number++) (void)::signal(number, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    // Last of all: up to exec this process has all descriptors of its parent.
    if (inherited_descriptors && !spec.many_descriptors &&
        ::setrlimit(RLIMIT_NOFILE, &*inherited_descriptors) < 0)
        give_up(report);
    ::execve(spec.program.c_str(), argv, env);
    give_up(report);
}

} // namespace

void raise_descriptor_limit() {
    rlimit limit{};
    if (inherited_descriptors || ::getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    rlimit raised{limit.rlim_max, limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) inherited_descriptors = limit;
}

const rlimit *inherited_descriptor_limit() {
    return inherited_descriptors ? &*inherited_descriptors : nullptr;
}

std::vector<char *> pointers(std::vector<std::string> &texts) {
    std::vector<char *> all;
    all.reserve(texts.size() + 1);
    for (auto &text : texts) all.push_back(text.data());
    all.push_back(nullptr);
    return all;
}

Result<pid_t> spawn(const SpawnSpec &spec) {
    auto argv_text = spec.argv;
    auto env_text = spec.env.strings();
    auto argv = pointers(argv_text);
    auto env = pointers(env_text);
    std::string oom_score = spec.oom_score_adj ? std::to_string(spec.oom_score_adj) : "";

    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno("pipe");
    Fd read_end(ends[0]), write_end(ends[1]);

    // What comes between fork and exec waits for exec: a handler of ours must not run in the child.
    sigset_t all, before;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, &before);
    pid_t parent = ::getpid();
    pid_t pid = ::fork();
    int fork_error = errno;
    if (pid == 0) child(spec, argv.data(), env.data(), oom_score.c_str(), parent, write_end.get());
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    if (pid < 0) return fail_errno("fork", fork_error);
    write_end.reset();
    int error = 0;
    ssize_t n;
    do {
        n = ::read(read_end.get(), &error, sizeof error);
    } while (n < 0 && errno == EINTR);
    if (n != sizeof error) return pid; // the pipe closed by exec
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return fail_errno(spec.program, error);
}

Result<std::string> find_program(const std::string &name, std::string_view path) {
    if (name.empty()) return fail("no command given");
    if (name.find('/') != std::string::npos) return name;
    if (path.empty()) path = "/usr/local/bin:/usr/bin:/bin";
    for (auto directory : split(path, ':')) {
        std::string candidate = (directory.empty() ? "." : std::string(directory)) + '/' + name;
        struct stat about {};
        bool file = ::stat(candidate.c_str(), &about) == 0 && S_ISREG(about.st_mode);
        if (file && ::access(candidate.c_str(), X_OK) == 0) return candidate;
    }
    return fail(name + ": command not found");
}

std::string describe_status(int status) {
    if (WIFSIGNALED(status)) {
        int number = WTERMSIG(status);
        return "signal " + std::to_string(number) + " (" + ::strsignal(number) + ")";
    }
    return "exit code " + std::to_string(WEXITSTATUS(status));
}

int shell_code(int status) {
    return WIFSIGNALED(status) ? exit_code::signal_base + WTERMSIG(status) : WEXITSTATUS(status);
}

} // namespace dtask

// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/spawner.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace dtask::worker {

namespace {

constexpr std::size_t most_bytes = 128u << 10; // of a message: well below a socket's buffer
constexpr int look_ms = 100;                   // between looks whether it lives
constexpr unsigned most_deaths = 3;

// In front of the texts, each of which ends with a byte 0: program, directory, argv, env.
struct Head {
    int input, output, errors;
    std::uint32_t joins, arguments, variables;
    std::array<int, 2> join_fds;
    bool directory;
};

struct Answer {
    pid_t pid;
    QuickFailure failure;
};

std::uint32_t count(char *const *texts) {
    std::uint32_t number = 0;
    while (texts[number]) number++;
    return number;
}

// Empty where it is too long for a message.
std::string encode(const QuickSpec &spec) {
    Head head{};
    head.input = spec.input;
    head.output = spec.output;
    head.errors = spec.errors;
    head.arguments = count(spec.argv);
    head.variables = count(spec.env);
    head.directory = spec.directory != nullptr;
    if (spec.join_fds.size() > head.join_fds.size()) return {};
    head.joins = static_cast<std::uint32_t>(spec.join_fds.size());
    std::ranges::copy(spec.join_fds, head.join_fds.begin());
    std::string bytes(reinterpret_cast<const char *>(&head), sizeof head);
    auto put = [&](const char *text) { bytes.append(text, std::strlen(text) + 1); };
    put(spec.program);
    put(spec.directory ? spec.directory : "");
    for (auto *text = spec.argv; *text && bytes.size() < most_bytes; text++) put(*text);
    for (auto *text = spec.env; *text && bytes.size() < most_bytes; text++) put(*text);
    return bytes.size() < most_bytes ? bytes : std::string();
}

// `bytes` are our own worker's, and stay for as long as the spec does.
QuickSpec decode(std::string &bytes, std::vector<char *> &texts) {
    Head head;
    std::memcpy(&head, bytes.data(), sizeof head);
    char *text = bytes.data() + sizeof head;
    auto next = [&] {
        auto *here = text;
        text += std::strlen(text) + 1;
        return here;
    };
    QuickSpec spec;
    spec.program = next();
    const char *directory = next();
    spec.directory = head.directory ? directory : nullptr;
    texts.clear();
    for (std::uint32_t n = 0; n < head.arguments; n++) texts.push_back(next());
    texts.push_back(nullptr);
    for (std::uint32_t n = 0; n < head.variables; n++) texts.push_back(next());
    texts.push_back(nullptr);
    spec.argv = texts.data();
    spec.env = texts.data() + head.arguments + 1;
    spec.input = head.input;
    spec.output = head.output;
    spec.errors = head.errors;
    spec.join_fds.assign(head.join_fds.begin(), head.join_fds.begin() + head.joins);
    return spec;
}

} // namespace

Spawner::~Spawner() { forget(); }

bool Spawner::on_reaped(pid_t pid) {
    if (pid != pid_) return false;
    pid_ = 0;
    deaths_++;
    forget();
    return true;
}

void Spawner::forget() {
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
        }
    }
    pid_ = 0;
    ours_.reset();
    theirs_.reset();
}

bool Spawner::begin() {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) return false;
    ours_.reset(pair[0]);
    theirs_.reset(pair[1]);
    pid_t worker = ::getpid();
    sigset_t all, before;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, &before);
    // As fork, with one table of descriptors for both.
    auto pid = static_cast<pid_t>(::syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
    if (pid == 0) serve(theirs_.get(), worker);
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    if (pid < 0) {
        forget();
        return false;
    }
    pid_ = pid;
    Answer ready;
    bool good = answered() && ::recv(ours_.get(), &ready, sizeof ready, 0) == sizeof ready &&
                ready.failure.error == 0;
    if (!good) {
        deaths_ = most_deaths; // it will be no better the next time
        forget();
    }
    return good;
}

// With all signals blocked: nobody but the worker ends it.
void Spawner::serve(int socket, pid_t worker) {
    Answer answer{};
    auto tell = [&] {
        if (::send(socket, &answer, sizeof answer, MSG_NOSIGNAL) != sizeof answer) ::_exit(1);
    };
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || ::getppid() != worker) ::_exit(1);
    (void)::prctl(PR_SET_NAME, "dtaskd-spawner");
    for (int fd : join_fds_)
        if (fd >= 0 && ::write(fd, "0", 1) != 1) answer.failure.error = errno;
    if (!oom_score_adj_.empty()) {
        // The table is the worker's as well: what is opened is closed.
        Fd score(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
        if (score) (void)!::write(score.get(), oom_score_adj_.data(), oom_score_adj_.size());
    }
    tell();
    std::string bytes(most_bytes, '\0');
    std::vector<char *> texts;
    while (true) {
        auto got = ::recv(socket, bytes.data(), bytes.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) ::_exit(0);
        auto spec = decode(bytes, texts);
        spec.parent = worker;
        auto pid = spawn_quickly(spec);
        answer = pid ? Answer{*pid, {}} : Answer{pid.error().pid, pid.error()};
        tell();
    }
}

bool Spawner::answered() const {
    pollfd look{ours_.get(), POLLIN, 0};
    while (true) {
        int ready = ::poll(&look, 1, look_ms);
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR) return false;
        siginfo_t about{};
        if (::waitid(P_PID, static_cast<id_t>(pid_), &about, WEXITED | WNOHANG | WNOWAIT) < 0 ||
            about.si_pid == pid_)
            return ::poll(&look, 1, 0) > 0;
    }
}

tl::expected<pid_t, QuickFailure> Spawner::spawn_alone(QuickSpec spec) const {
    spec.join_fds.insert(spec.join_fds.begin(), join_fds_.begin(), join_fds_.end());
    spec.oom_score_adj = oom_score_adj_;
    return spawn_quickly(spec);
}

tl::expected<pid_t, QuickFailure> Spawner::spawn(const QuickSpec &spec) {
    if (join_fds_.empty()) return spawn_alone(spec); // to ask another takes longer than that
    if (pid_ == 0 && (deaths_ >= most_deaths || !begin())) return spawn_alone(spec);
    auto bytes = encode(spec);
    if (bytes.empty()) return spawn_alone(spec);
    Answer answer{};
    bool sent = ::send(ours_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(bytes.size());
    if (!sent && (errno == EMSGSIZE || errno == ENOBUFS)) return spawn_alone(spec);
    if (!sent || !answered() ||
        ::recv(ours_.get(), &answer, sizeof answer, 0) != static_cast<ssize_t>(sizeof answer)) {
        // Somebody has killed it. What it was about to start may have been started: then the
        // worker's loop reaps a child that it does not know, and the command runs once more.
        deaths_++;
        forget();
        return spawn_alone(spec);
    }
    if (answer.failure.error == 0) return answer.pid;
    // It was our child.
    if (answer.pid > 0)
        while (::waitpid(answer.pid, nullptr, 0) < 0 && errno == EINTR) {
        }
    return tl::unexpected<QuickFailure>(answer.failure);
}

} // namespace dtask::worker

// SPDX-License-Identifier: Apache-2.0
#include "tests/inject/tracer.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ptrace.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/inject/calls.h"

namespace dtask::inject {
namespace {

namespace fs = std::filesystem;

/// A mark is a call of prctl with this, which the kernel refuses: prctl(mark, Mark, ...).
constexpr unsigned long mark = 0x6474736b;
enum Mark : unsigned long { begins, ends };

void put(const fs::path &file, std::string_view text) {
    auto *stream = std::fopen(file.c_str(), "w");
    if (!stream) return;
    std::fwrite(text.data(), 1, text.size(), stream);
    std::fclose(stream);
}

class Tracer {
public:
    Tracer(const Stage &stage, const Fault &fault, pid_t child)
        : stage_(stage), fault_(fault), child_(child) {}

    Outcome run() {
        int status = 0;
        ::waitpid(child_, &status, 0);
        ::ptrace(PTRACE_SETOPTIONS, child_, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
        int signal = 0;
        for (;;) {
            ::ptrace(PTRACE_SYSCALL, child_, nullptr, signal);
            if (::waitpid(child_, &status, 0) != child_) break;
            if (!WIFSTOPPED(status)) break;
            signal = WSTOPSIG(status);
            if (signal != (SIGTRAP | 0x80)) continue; // handed to it
            signal = 0;
            __ptrace_syscall_info info{};
            ::ptrace(PTRACE_GET_SYSCALL_INFO, child_, sizeof info, &info);
            if (info.op == PTRACE_SYSCALL_INFO_ENTRY) on_entry(info);
            if (info.op == PTRACE_SYSCALL_INFO_EXIT) on_exit(info);
        }
        if (WIFSIGNALED(status) && !killed_)
            wrong("ended by signal " + std::to_string(WTERMSIG(status)));
        if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
            wrong("ended with code " + std::to_string(WEXITSTATUS(status)));
        return std::move(outcome_);
    }

private:
    struct Call {
        long number = -1;
        std::array<std::uint64_t, 6> args{};
        std::string path; ///< as the kernel will resolve it; of a descriptor what it refers to
    };

    void on_entry(const __ptrace_syscall_info &info) {
        call_ = {static_cast<long>(info.entry.nr), {}, {}};
        std::copy(std::begin(info.entry.args), std::end(info.entry.args), call_.args.begin());
        failing_ = 0;
        if (call_.number == SYS_prctl && call_.args[0] == mark) return on_mark();
        if (hook_.empty() || call_.number == SYS_rt_sigreturn || is_exit(call_.number)) return;
        if (sanitized && is_sanitizers()) return;
        // Up to the fault it does what it did in the sound run.
        auto kind =
            outcome_.calls + 1 < fault_.nth ? Kind::harmless : kind_of(call_.number, call_.args);
        if (kind != Kind::harmless || outcome_.calls + 1 == fault_.nth || is_played(call_.number))
            call_.path = path_of(call_);
        judge(kind);
        if (kind == Kind::changes) outcome_.changes.insert(outcome_.calls + 1);
        if (is_transfer(call_.number) && call_.args[2] > 1)
            outcome_.transfers.insert(outcome_.calls + 1);
        if (++outcome_.calls == fault_.nth) return go_wrong();
        if (stage_.mountinfo.empty()) return;
        if (call_.number == SYS_openat) redirect();
        if (is_removal(call_.number)) empty_out(call_.path);
    }

    void on_exit(const __ptrace_syscall_info &info) {
        if (hook_.empty()) return;
        if (failing_ != 0) {
            auto registers = this->registers();
            registers.rax = static_cast<std::uint64_t>(-failing_);
            set(registers);
            failing_ = 0;
            return;
        }
        if (stage_.mountinfo.empty() || info.exit.is_error) return;
        if (call_.number == SYS_mkdirat) fill(call_.path);
        if (call_.number == SYS_fstatfs) {
            long type = call_.path == stage_.root && !stage_.v2 ? TMPFS_MAGIC
                        : stage_.v2                             ? CGROUP2_SUPER_MAGIC
                                                                : CGROUP_SUPER_MAGIC;
            ::ptrace(PTRACE_POKEDATA, child_, call_.args[1] + offsetof(struct statfs, f_type),
                     type);
        }
    }

    void on_mark() {
        if (call_.args[1] == begins) {
            hook_ = text(call_.args[2]);
            open_ = descriptors();
            return;
        }
        auto rc = static_cast<int>(call_.args[2]);
        bool may_fail = call_.args[3] != 0;
        if (rc != 0 && !(rc == -1 && may_fail)) wrong("returned " + std::to_string(rc));
        auto now = descriptors();
        for (const auto &[fd, what] : now)
            if (!open_.contains(fd)) wrong("left open: " + what);
        for (const auto &[fd, what] : open_)
            if (!now.contains(fd)) wrong("closed what is not its own: " + what);
        hook_.clear();
    }

    void go_wrong() {
        outcome_.broken = name_of(call_.number) + " " + call_.path + " in " + hook_;
        if (fault_.kind == Fault::Kind::killed) {
            killed_ = true;
            ::kill(child_, SIGKILL);
            return;
        }
        auto registers = this->registers();
        if (fault_.kind == Fault::Kind::shortened) {
            registers.rdx = 1;
        } else {
            // No call at all; but close() closes whatever it returns.
            if (call_.number != SYS_close) registers.orig_rax = static_cast<std::uint64_t>(-1);
            failing_ = fault_.error;
        }
        set(registers);
    }

    bool is_sanitizers() const {
        return is_of_memory(call_.number) || call_.number == SYS_pipe2 ||
               path_of(call_).starts_with("pipe:");
    }

    void judge(Kind kind) {
        if (kind == Kind::harmless) return;
        auto on = name_of(call_.number) + " " + call_.path;
        switch (kind) {
        case Kind::harmless: break;
        case Kind::reads:
            if (!call_.path.starts_with("/proc/") && !call_.path.starts_with("/sys/") &&
                !inside() && call_.path != stage_.root)
                wrong("read what is not the kernel's: " + on);
            break;
        case Kind::changes:
            if (!inside()) wrong("changed what is not in a cgroup: " + on);
            if (call_.number == SYS_openat && !(call_.args[2] & O_NOFOLLOW))
                wrong("would have followed a link: " + on);
            break;
        case Kind::foreign: wrong("not for root's part to call: " + on); break;
        }
    }

    bool inside() const { return call_.path.starts_with(stage_.root + '/'); }

    /// What the call names: its path, or what its descriptor refers to.
    std::string path_of(const Call &call) const {
        auto where = operands_of(call.number);
        if (where.path < 0 && where.fd < 0) return {};
        std::string base;
        auto fd = where.fd < 0 ? AT_FDCWD : static_cast<int>(call.args[where.fd]);
        auto self = "/proc/" + std::to_string(child_);
        std::error_code none;
        if (fd != AT_FDCWD)
            base = fs::read_symlink(self + "/fd/" + std::to_string(fd), none).string();
        else
            base = fs::read_symlink(self + "/cwd", none).string();
        if (where.path < 0) return base;
        auto name = text(call.args[where.path]);
        if (name == ".") return base;
        if (fd != AT_FDCWD && name.find('/') == name.npos) return base + '/' + name;
        auto whole = fs::path(base) / name;
        // The last component may not be there, or be a link, which is judged by itself.
        return (fs::weakly_canonical(whole.parent_path(), none) / whole.filename()).string();
    }

    // ---- the stage

    bool is_played(long number) const {
        return !stage_.mountinfo.empty() && (number == SYS_openat || number == SYS_mkdirat ||
                                             number == SYS_fstatfs || is_removal(number));
    }

    /// Has it open a text of ours: the path goes where the stack is free.
    void redirect() {
        const char *file = nullptr;
        if (call_.path.ends_with("/mountinfo")) file = "mountinfo";
        if (call_.path.ends_with("/cgroup")) file = "membership";
        if (!file || !call_.path.starts_with("/proc/")) return;
        auto path = stage_.root + "." + file;
        auto registers = this->registers();
        auto place = registers.rsp - 8192;
        iovec from{path.data(), path.size() + 1};
        iovec to{reinterpret_cast<void *>(place), path.size() + 1}; // NOLINT
        ::process_vm_writev(child_, &from, 1, &to, 1, 0);
        registers.rsi = place;
        set(registers);
    }

    static void fill(const fs::path &group) {
        for (const char *name : {"cgroup.procs", "memory.limit_in_bytes", "cpu.cfs_period_us",
                                 "memory.memsw.limit_in_bytes", "cpu.cfs_quota_us"})
            put(group / name, "0\n");
    }

    static void empty_out(const fs::path &group) {
        std::error_code none;
        auto all = fs::directory_iterator(group, none);
        if (none) return;
        for (const auto &entry : all)
            if (entry.is_directory()) return; // the kernel refuses, too
        for (const auto &entry : fs::directory_iterator(group, none)) fs::remove(entry, none);
    }

    // ---- the child

    user_regs_struct registers() const {
        user_regs_struct registers{};
        ::ptrace(PTRACE_GETREGS, child_, nullptr, &registers);
        return registers;
    }
    void set(user_regs_struct registers) { ::ptrace(PTRACE_SETREGS, child_, nullptr, &registers); }

    std::string text(std::uint64_t address) const {
        std::string all;
        char part[256];
        while (all.size() < 4096) {
            // Not beyond the page, behind which there may be none.
            auto most = std::min<std::size_t>(sizeof part, 4096 - address % 4096);
            iovec to{part, most};
            iovec from{reinterpret_cast<void *>(address), most}; // NOLINT
            if (::process_vm_readv(child_, &to, 1, &from, 1, 0) != static_cast<ssize_t>(most))
                return all;
            auto length = ::strnlen(part, most);
            all.append(part, length);
            if (length < most) return all;
            address += most;
        }
        return all;
    }

    std::map<std::string, std::string> descriptors() const {
        std::map<std::string, std::string> all;
        std::error_code none;
        for (const auto &entry :
             fs::directory_iterator("/proc/" + std::to_string(child_) + "/fd", none))
            all[entry.path().filename()] = fs::read_symlink(entry.path(), none).string();
        return all;
    }

    void wrong(const std::string &what) {
        outcome_.wrong.push_back((hook_.empty() ? "" : hook_ + ": ") + what);
    }

    const Stage &stage_;
    const Fault &fault_;
    pid_t child_;
    Call call_;
    std::string hook_; ///< empty outside of hooks
    std::map<std::string, std::string> open_;
    int failing_ = 0; ///< the errno of the call that isn't done
    bool killed_ = false;
    Outcome outcome_;
};

} // namespace

Outcome trace(const Stage &stage, const Fault &fault, const std::function<void()> &body) {
    if (!stage.mountinfo.empty()) {
        put(stage.root + ".mountinfo", stage.mountinfo);
        put(stage.root + ".membership", stage.membership);
    }
    pid_t child = ::fork();
    if (child == 0) {
        ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
        ::raise(SIGSTOP);
        body();
        ::_exit(0);
    }
    return Tracer(stage, fault, child).run();
}

void hook(const char *name, bool may_fail, const std::function<int()> &call) {
    ::syscall(SYS_prctl, mark, begins, name, 0, 0);
    int rc = call();
    ::syscall(SYS_prctl, mark, ends, rc, may_fail, 0);
}

} // namespace dtask::inject

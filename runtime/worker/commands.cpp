// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/commands.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/exit_codes.h"
#include "lib/base/log.h"
#include "lib/base/quick.h"
#include "lib/base/spawn.h"
#include "lib/base/strings.h"
#include "runtime/worker/memory.h"
#include "runtime/worker/processes.h"
#include "runtime/worker/written.h"

namespace dtask::worker {

namespace {

constexpr std::int64_t look_ms = 50;    // between looks at the memory of commands
constexpr std::int64_t stream_ms = 100; // between looks at what they have written
constexpr auto output_name = "stdout", errors_name = "stderr";
constexpr mode_t new_file = 0666, new_directory = 0777;

std::int64_t time_of_day_us() {
    timeval now{};
    ::gettimeofday(&now, nullptr);
    return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_usec;
}

std::int64_t now_us() { return SteadyClock().now_us(); }

std::uint64_t micros(const timeval &span) {
    return static_cast<std::uint64_t>(span.tv_sec) * 1'000'000 +
           static_cast<std::uint64_t>(span.tv_usec);
}

std::string beside(const std::string &directory, const std::string &path) {
    return path.starts_with('/') || directory.empty() ? path : directory + '/' + path;
}

Result<Fd> memory_file(const char *name) {
    Fd file(::memfd_create(name, MFD_CLOEXEC));
    if (!file) return fail_errno(name);
    // Who opens it anew by /proc/self/fd, as /dev/stderr is, must not begin at its start again.
    if (::fcntl(file.get(), F_SETFL, O_APPEND) < 0) return fail_errno(name);
    return file;
}

// Readable too: its end is looked at when the command has failed.
Result<Fd> create(const std::string &path) {
    constexpr int flags = O_RDWR | O_CREAT | O_TRUNC | O_APPEND;
    auto file = open_file(path, flags, new_file);
    if (file || errno != ENOENT) return file;
    auto parent = std::filesystem::path(path).parent_path().string();
    if (parent.empty()) return file;
    if (auto made = make_directories(parent, new_directory); !made)
        return fail_from(std::move(made));
    return open_file(path, flags, new_file);
}

void replace_slot(std::string &text, const std::string &slot) {
    for (std::size_t at = 0; (at = text.find(model::slot_mark, at)) != text.npos; at += slot.size())
        text.replace(at, model::slot_mark.size(), slot);
}

// What the launcher has set for a function that has all CPUs of its slot is a command's own
// number where it takes another; what the user has set stays.
void set_threads(Env &env, std::uint64_t cpus, std::uint64_t said) {
    for (auto name :
         {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"})
        if (env.get_or(name, "") == std::to_string(said)) env.set(name, std::to_string(cpus));
}

} // namespace

Commands::Commands(ev::Loop &loop, Place place, OnEnded on_ended, OnLines on_lines)
    : loop_(loop), place_(std::move(place)), on_ended_(std::move(on_ended)),
      on_lines_(std::move(on_lines)), spawner_(place_.join_fds, std::to_string(first_to_die)) {}

Commands::~Commands() {
    for (const auto &[pid, running] : running_) ::kill(-pid, SIGKILL);
}

Result<void> Commands::add(std::uint64_t function, std::string_view common, std::uint64_t cpus) {
    Kind kind;
    if (auto ok = model::Command::decode(common, kind.common); !ok) return ok;
    kind.cpus = std::clamp<std::uint64_t>(cpus, 1, place_.cpus);
    Env env = place_.env;
    set_threads(env, kind.cpus, place_.threads);
    for (const auto &name : kind.common.unset) env.unset(name);
    for (const auto &variable : kind.common.set) {
        auto at = variable.find('=');
        env.set(variable.substr(0, at), variable.substr(at + 1));
    }
    kind.path = env.get_or("PATH", "");
    kind.variables = env.strings();
    kinds_.insert_or_assign(function, std::move(kind));
    return {};
}

std::uint64_t Commands::cpus_of(std::uint64_t function) const {
    auto kind = kinds_.find(function);
    return kind == kinds_.end() ? 1 : kind->second.cpus;
}

std::uint64_t Commands::take_slot() {
    auto free = std::ranges::find(slots_, false);
    if (free == slots_.end()) free = slots_.insert(slots_.end(), false);
    *free = true;
    return static_cast<std::uint64_t>(free - slots_.begin());
}

Result<std::string> Commands::find(Kind &kind, const model::Command &command) const {
    const auto &name = command.argv.front();
    if (name.find('/') != std::string::npos) return name;
    if (auto known = kind.found.find(name); known != kind.found.end()) return known->second;
    auto path = find_program(name, kind.path);
    if (!path) return path;
    return kind.found.emplace(name, *path).first->second;
}

Result<void> Commands::open_files(const model::Command &command, Running &running, Fd &input,
                                  Fd &output, Fd &errors) {
    auto open = [&](const std::string &path, const char *name, Fd &spare,
                    Fd &theirs) -> Result<void> {
        if (path.empty() && spare) {
            theirs = std::move(spare);
            return {};
        }
        auto file = path.empty() ? memory_file(name) : create(beside(command.directory, path));
        if (!file) return fail_from(std::move(file));
        theirs = std::move(*file);
        return {};
    };
    bool none = command.input.empty();
    if (Fd &source = none ? null_ : input; !source) {
        auto file =
            open_file(none ? "/dev/null" : beside(command.directory, command.input), O_RDONLY);
        if (!file) return fail_from(std::move(file));
        source = std::move(*file);
    }
    if (auto ok = open(command.output, output_name, spare_output_, output); !ok) return ok;
    running.tail_only = !command.errors.empty();
    if (running.tail_only && command.errors == command.output) {
        errors.reset(::fcntl(output.get(), F_DUPFD_CLOEXEC, 0));
        if (!errors) return fail_errno(command.errors);
        return {};
    }
    return open(command.errors, errors_name, spare_errors_, errors);
}

void Commands::start(Call call) {
    auto &kind = kinds_.at(call.function);
    Running running;
    running.began_us = now_us();
    running.began_at_us = time_of_day_us();
    running.slot = take_slot();
    running.cpus = kind.cpus;
    cpus_taken_ += running.cpus;
    model::Command command = kind.common;
    auto decoded = model::Command::decode(call.args, command);
    auto timeout_ms = call.timeout_ms;
    running.call = std::move(call);
    running.limit = command.memory;
    running.journal = std::move(command.journal);
    running.digest = std::move(command.digest);
    running.streamed = command.streamed && on_lines_;
    if (decoded && command.argv.empty()) decoded = fail("a command without a program");
    if (!decoded)
        return refuse(std::move(running), exit_code::cannot_execute, decoded.error().text());

    auto slot = std::to_string(place_.first_slot + running.slot);
    if (command.slot_marks)
        for (auto *texts : {&command.argv, &command.set})
            for (auto &text : *texts) replace_slot(text, slot);
    if (command.slot_marks)
        for (auto *text : {&command.output, &command.errors, &command.input, &command.directory})
            replace_slot(*text, slot);
    auto program = find(kind, command);
    if (!program) return refuse(std::move(running), exit_code::not_found, program.error().text());

    Fd input, output, errors;
    if (auto ok = open_files(command, running, input, output, errors); !ok)
        return refuse(std::move(running), exit_code::cannot_execute, ok.error().text());

    // The task's own variables stand first, where getenv finds them.
    std::vector<std::string> own{"PARALLEL_JOBSLOT=" + slot, "DTASK_SLOT=" + slot};
    for (auto n = kind.common.set.size(); n < command.set.size(); n++)
        own.push_back(std::move(command.set[n]));
    auto env = pointers(own);
    env.pop_back();
    for (auto &variable : kind.variables) {
        auto name = std::string_view(variable).substr(0, variable.find('=') + 1);
        if (std::ranges::none_of(own, [&](const auto &v) { return v.starts_with(name); }))
            env.push_back(variable.data());
    }
    env.push_back(nullptr);
    auto argv = pointers(command.argv);

    QuickSpec spec;
    spec.program = program->c_str();
    spec.argv = argv.data();
    spec.env = env.data();
    spec.directory = command.directory.empty() ? nullptr : command.directory.c_str();
    spec.input = command.input.empty() ? null_.get() : input.get();
    spec.output = output.get();
    spec.errors = errors.get();
    if (running.limit > 0) enter_group(running, spec.join_fds);
    auto pid = spawner_.spawn(spec);
    if (!pid) {
        const auto &[error, directory, nobody] = pid.error();
        kind.found.erase(command.argv.front()); // it may be somewhere else now
        return refuse(std::move(running),
                      error == ENOENT && !directory ? exit_code::not_found
                                                    : exit_code::cannot_execute,
                      (directory ? command.directory : *program) + ": " + std::strerror(error));
    }
    if (command.output.empty()) running.output = std::move(output);
    running.errors = std::move(errors);
    if (timeout_ms > 0) {
        running.deadline = std::make_unique<ev::Timer>(loop_, [this, pid = *pid] {
            auto found = running_.find(pid);
            if (found == running_.end()) return;
            found->second.cut = Cut::overdue;
            ::kill(-pid, SIGKILL);
        });
        running.deadline->set(timeout_ms);
    }
    bool watched = running.limit > 0 && !running.group;
    if (running.streamed && !stream_) stream_.emplace(loop_, stream_ms, [this] { tell_lines(); });
    running_.emplace(*pid, std::move(running));
    if (watched && !look_) look_.emplace(loop_, look_ms, [this] { look(); });
}

bool Commands::drop(std::uint64_t task, std::uint64_t instance) {
    for (auto &[pid, running] : running_)
        if (running.call.task == task && running.call.instance == instance) {
            running.call.dropped = true;
            ::kill(-pid, SIGKILL);
            return true;
        }
    return false;
}

void Commands::enter_group(Running &running, std::vector<int> &join_fds) {
    if (running.slot >= place_.groups.size()) return;
    auto &group = place_.groups[running.slot];
    auto kills = group.oom_kills();
    auto limited = kills ? group.set_limit(running.limit) : fail_from(std::move(kills));
    if (!limited) {
        log::info("a command's memory limit is kept by looking at it: " + limited.error().text());
        return;
    }
    running.group = &group;
    running.kills_before = *kills; // NOLINT(bugprone-use-after-move): moved only where it is none
    join_fds.push_back(group.procs_fd());
}

void Commands::leave_group(Running &running) {
    running.peak = running.group->peak().value_or(0);
    if (running.cut != Cut::no) return;
    if (running.group->oom_kills().value_or(0) == running.kills_before) return;
    bool own = running.peak + running.limit / limit_tolerance >= running.limit;
    running.cut = own ? Cut::memory : Cut::worker_memory;
}

bool Commands::on_reaped(pid_t pid, int status, const rusage &used) {
    auto found = running_.find(pid);
    if (found == running_.end()) return spawner_.on_reaped(pid);
    Running running = std::move(found->second);
    running_.erase(found);
    ::kill(-pid, SIGKILL); // what it has left behind
    model::Ended ended;
    ended.exit = WIFEXITED(status) ? static_cast<std::uint32_t>(WEXITSTATUS(status)) : 0;
    ended.signal = WIFSIGNALED(status) ? static_cast<std::uint32_t>(WTERMSIG(status)) : 0;
    ended.cpu_us = micros(used.ru_utime) + micros(used.ru_stime);
    if (running.group) leave_group(running);
    ended.peak = std::max(running.peak, static_cast<std::uint64_t>(used.ru_maxrss) * 1024);
    free_place(running, ended);
    reaped_.push_back({std::move(running), pid, std::move(ended)});
    return true;
}

void Commands::settle() {
    for (auto &[running, pid, ended] : std::exchange(reaped_, {})) {
        ended.output =
            read_first(running.output, running.told_output, model::most_output, ended.lost);
        ended.errors = running.tail_only ? read_last(running.errors, model::errors_tail)
                                         : read_first(running.errors, running.told_errors,
                                                      model::most_output, ended.lost);
        tell(std::move(running), pid, std::move(ended));
    }
    if (running_.empty()) return;
    // What fails now is told when it is needed.
    if (!spare_output_) spare_output_ = memory_file(output_name).value_or(Fd());
    if (!spare_errors_) spare_errors_ = memory_file(errors_name).value_or(Fd());
}

void Commands::refuse(Running running, std::uint32_t code, const std::string &why) {
    model::Ended ended;
    ended.exit = code;
    ended.errors = why + '\n';
    free_place(running, ended);
    tell(std::move(running), 0, std::move(ended));
}

void Commands::free_place(const Running &running, model::Ended &ended) {
    ended.host = place_.host;
    ended.began_us = static_cast<std::uint64_t>(running.began_at_us);
    ended.ran_us = static_cast<std::uint64_t>(now_us() - running.began_us);
    cpus_taken_ -= running.cpus;
    slots_[running.slot] = false;
    auto watched = [](const auto &entry) { return entry.second.limit > 0 && !entry.second.group; };
    if (look_ && std::ranges::none_of(running_, watched)) look_.reset();
    auto streamed = [](const auto &entry) { return entry.second.streamed; };
    if (stream_ && std::ranges::none_of(running_, streamed)) stream_.reset();
}

void Commands::tell(Running running, pid_t pid, model::Ended ended) {
    on_ended_({std::move(running.call), std::move(ended), running.cut, pid, running.limit,
               std::move(running.journal), std::move(running.digest)});
}

void Commands::tell_lines() {
    for (auto &[pid, running] : running_) {
        if (!running.streamed || running.call.dropped) continue;
        auto output = take_lines(running.output, running.told_output);
        auto errors =
            running.tail_only ? std::string() : take_lines(running.errors, running.told_errors);
        if (!output.empty() || !errors.empty())
            on_lines_(running.call, std::move(output), std::move(errors));
    }
}

void Commands::look() {
    for (auto &[pid, running] : running_) {
        if (running.limit == 0 || running.group) continue;
        std::uint64_t sum = 0;
        auto family = family_of(pid);
        for (auto member : family) sum += resident(member, 0);
        // A process that has forked shares most of what it has with its child.
        if (sum > running.limit && family.size() > 1) {
            sum = 0;
            for (auto member : family) sum += proportional(member, 0);
        }
        running.peak = std::max(running.peak, sum);
        if (sum <= running.limit) continue;
        running.cut = Cut::memory;
        ::kill(-pid, SIGKILL);
    }
}

std::optional<std::string> Commands::output_of(std::uint64_t task, std::uint64_t instance) const {
    constexpr std::size_t most = 16 << 10; // of each
    for (const auto &[pid, running] : running_) {
        if (running.call.task != task || running.call.instance != instance) continue;
        auto text = read_last(running.output, most);
        if (!text.empty() && !text.ends_with('\n')) text += '\n';
        return text + read_last(running.errors, most);
    }
    return {};
}

std::vector<pid_t> Commands::pids() const {
    std::vector<pid_t> pids;
    for (const auto &[pid, running] : running_) pids.push_back(pid);
    return pids;
}

bool Commands::kill_for_memory(pid_t pid) {
    if (!running_.contains(pid)) return false;
    ::kill(-pid, SIGKILL);
    return true;
}

} // namespace dtask::worker

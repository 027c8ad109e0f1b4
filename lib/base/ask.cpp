// SPDX-License-Identifier: Apache-2.0
#include "lib/base/ask.h"

#include <array>
#include <csignal>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/quick.h"
#include "lib/base/spawn.h"
#include "lib/base/strings.h"

namespace dtask {

namespace {

constexpr std::size_t most_output = 4 << 20;

struct Pipe {
    Fd read, write;
};

Result<Pipe> make_pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno("pipe");
    return Pipe{Fd(ends[0]), Fd(ends[1])};
}

std::string last_line(std::string_view text) {
    text = trim(text);
    auto at = text.rfind('\n');
    return std::string(at == text.npos ? text : trim(text.substr(at + 1)));
}

// Takes what is there; false at its end.
bool take(const Fd &from, std::string &into) {
    std::array<char, 65536> bytes;
    auto n = ::read(from.get(), bytes.data(), bytes.size());
    if (n <= 0) return n < 0 && errno == EINTR;
    if (into.size() < most_output) into.append(bytes.data(), static_cast<std::size_t>(n));
    return true;
}

} // namespace

Result<std::string> ask(const std::vector<std::string> &words, const Env &env, int patience_ms) {
    const auto &name = words.at(0);
    auto program = find_program(name, env.get_or("PATH", ""));
    if (!program) return fail_from(std::move(program));
    auto output = make_pipe(), errors = make_pipe();
    if (!output) return fail_from(std::move(output));
    if (!errors) return fail_from(std::move(errors));
    auto nothing = open_file("/dev/null", O_RDONLY | O_CLOEXEC);
    if (!nothing) return fail_from(std::move(nothing));

    auto arguments = words;
    auto variables = env.strings();
    auto argv = pointers(arguments), envp = pointers(variables);
    QuickSpec spec;
    spec.program = program->c_str();
    spec.argv = argv.data();
    spec.env = envp.data();
    spec.input = nothing->get();
    spec.output = output->write.get();
    spec.errors = errors->write.get();
    auto pid = spawn_quickly(spec);
    if (!pid) return fail_errno(*program, pid.error().error);
    output->write.reset();
    errors->write.reset();

    SteadyClock clock;
    auto until = clock.now_us() + std::int64_t{patience_ms} * 1000;
    std::string said, complained;
    std::array<pollfd, 2> ends{pollfd{output->read.get(), POLLIN, 0},
                               pollfd{errors->read.get(), POLLIN, 0}};
    bool late = false;
    while (!late && (ends[0].fd >= 0 || ends[1].fd >= 0)) {
        auto left_ms = (until - clock.now_us()) / 1000;
        late = left_ms <= 0;
        if (late || ::poll(ends.data(), ends.size(), static_cast<int>(left_ms)) <= 0) continue;
        if (ends[0].revents && !take(output->read, said)) ends[0].fd = -1;
        if (ends[1].revents && !take(errors->read, complained)) ends[1].fd = -1;
    }
    if (late) ::kill(-*pid, SIGKILL);
    int status = 0;
    while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
    }
    ::kill(-*pid, SIGKILL); // what it has started and left
    if (late)
        return fail(name + " has not ended after " + std::to_string(patience_ms / 1000) + " s");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        auto why = last_line(complained.empty() ? said : complained);
        return fail(why.empty() ? name + ": " + describe_status(status) : why);
    }
    return said;
}

} // namespace dtask

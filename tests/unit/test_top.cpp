// SPDX-License-Identifier: Apache-2.0
//
// `dtask top` on a pseudo-terminal: a process plays the user, who presses keys once something is
// there to be seen.
#include "tests/unit/unit.h"

#include <csignal>
#include <fstream>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/fd.h"
#include "runtime/cli/top.h"
#include "tests/fakes/cluster.h"

using namespace dtask;
using namespace dtask::proto;
using dtask::fakes::Cluster;
using dtask::test::must;

namespace {

/// What is to be seen, and the keys that are pressed then.
using Steps = std::vector<std::pair<std::string, std::string>>;

Frame info_of(std::size_t workers) {
    Info info;
    info.id = "7.0";
    info.engine = "native";
    info.expected = workers;
    for (std::size_t n = 0; n < workers; n++) {
        WorkerInfo w;
        w.about.name = "worker-" + std::to_string(n) + ".";
        w.about.node = "n";
        w.about.nthreads = 1;
        info.workers.push_back(w);
    }
    return encode(info);
}

// Looks at `screen` and presses keys until it is killed.
[[noreturn]] void play_user(int screen, const Steps &steps, const std::string &transcript) {
    std::string seen;
    std::ofstream all(transcript);
    std::size_t step = 0;
    char bytes[4096];
    for (;;) {
        auto n = ::read(screen, bytes, sizeof bytes);
        if (n <= 0) ::pause();
        seen.append(bytes, static_cast<std::size_t>(n));
        all.write(bytes, n).flush();
        if (step == steps.size()) continue;
        auto at = seen.find(steps[step].first);
        if (at == seen.npos) continue;
        seen.erase(0, at + steps[step].first.size());
        const auto &keys = steps[step++].second;
        if (keys == "TERM")
            ::kill(::getppid(), SIGTERM);
        else if (::write(screen, keys.data(), keys.size()) < 0)
            ::_exit(1);
    }
}

struct Shown {
    Result<cli::Said> said;
    std::string transcript;
    bool restored = false; ///< the terminal is as it was
};

Shown watch(const Cluster &cluster, const Steps &steps) {
    int screen = ::posix_openpt(O_RDWR | O_NOCTTY);
    ck_assert_int_ge(screen, 0);
    ck_assert_int_eq(::grantpt(screen), 0);
    ck_assert_int_eq(::unlockpt(screen), 0);
    int terminal = ::open(::ptsname(screen), O_RDWR | O_NOCTTY);
    ck_assert_int_ge(terminal, 0);
    winsize size{20, 80, 0, 0};
    ::ioctl(terminal, TIOCSWINSZ, &size);
    auto transcript = cluster.scratch / "transcript";
    std::ofstream{transcript}; // is there, however soon it ends
    pid_t user = ::fork();
    if (user == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::close(terminal);
        play_user(screen, steps, transcript);
    }
    int before[2] = {::dup(STDIN_FILENO), ::dup(STDOUT_FILENO)};
    ::dup2(terminal, STDIN_FILENO);
    ::dup2(terminal, STDOUT_FILENO);
    termios first{}, last{};
    ::tcgetattr(terminal, &first);
    Env env;
    env.set("TERM", "xterm");
    auto said = cli::top({cluster.file, 50}, env);
    ::tcgetattr(terminal, &last);
    ::dup2(before[0], STDIN_FILENO);
    ::dup2(before[1], STDOUT_FILENO);
    ::kill(user, SIGKILL);
    ::waitpid(user, nullptr, 0);
    ::close(terminal);
    ::close(screen);
    return {std::move(said), must(read_file(transcript)), first.c_lflag == last.c_lflag};
}

START_TEST(test_keys) {
    Cluster cluster({{"info", info_of(60)}});
    // A page and a line down, a page and two lines up, and what means nothing.
    auto shown = watch(cluster, {{"worker-0.", "x\x1b[6~\x1b[B"},
                                 {"worker-11.", "\x1b[5~k\x1b[A\x1bOA"},
                                 {"worker-0.", "jj"},
                                 {"worker-2.", "q"}});
    auto said = must(std::move(shown.said));
    ck_assert_int_eq(said.code, 0);
    ck_text_eq(said.text + said.error, "");
    ck_assert(shown.restored);
    ck_contains(shown.transcript, "\x1b[?1049h"); // a screen of its own
}
END_TEST

START_TEST(test_the_cluster_ends) {
    int asked = 0;
    Cluster cluster([asked](const Frame &, proto::Link &link) mutable {
        link.send(asked++ < 2 ? info_of(1) : encode_bye("the client has ended"));
        return true;
    });
    auto shown = watch(cluster, {});
    auto said = must(std::move(shown.said));
    ck_text_eq(said.text, "cluster 7.0 has ended: the client has ended\n");
    ck_assert_int_eq(said.code, 0);
    ck_assert(shown.restored);
}
END_TEST

START_TEST(test_the_scheduler_is_lost) {
    Cluster cluster([](const Frame &, proto::Link &) { return false; });
    auto shown = watch(cluster, {});
    auto said = must(std::move(shown.said));
    ck_text_eq(said.error, "the scheduler of 7.0 was lost: closed by the scheduler\n");
    ck_assert_int_eq(said.code, exit_code::cluster_lost);
    Cluster odd({{"info", {must(Json::parse(R"({"t":"info"})")), ""}}});
    said = must(watch(odd, {}).said);
    ck_contains(said.error, "the scheduler of 7.0 says what is no state: ");
    ck_assert_int_eq(said.code, exit_code::cluster_lost);
}
END_TEST

START_TEST(test_told_to_end) {
    Cluster cluster({{"info", info_of(2)}});
    auto shown = watch(cluster, {{"worker-1.", "TERM"}});
    ck_assert_int_eq(must(std::move(shown.said)).code, exit_code::signal_base + SIGTERM);
    ck_assert(shown.restored);
}
END_TEST

} // namespace

int main() {
    Suite *suite = suite_create("top");
    TCase *cases = tcase_create("top");
    tcase_set_timeout(cases, 60);
    for (auto test :
         {test_keys, test_the_cluster_ends, test_the_scheduler_is_lost, test_told_to_end})
        tcase_add_test(cases, test);
    suite_add_tcase(suite, cases);
    return test::run(suite);
}

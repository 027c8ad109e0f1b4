// SPDX-License-Identifier: Apache-2.0
//
// A scheduler, or a worker's door, that is played in a process of its own: what is tested runs a
// loop of its own and returns with the answer. It ends with its owner, which reads no counters of
// it. The scheduler file is at `file`, in a directory of the owner's.
#pragma once

#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/ev/listener.h"
#include "lib/proto/codec.h"
#include "lib/proto/link.h"
#include "runtime/client/connection_file.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

namespace dtask::fakes {

class Cluster {
public:
    using Link = proto::Link;
    /// These run in the played process. False ends the connection.
    using OnOpen = std::function<void(Link &)>;
    using OnFrame = std::function<bool(const proto::Frame &, Link &)>;

    /// What is asked by these types is answered by those frames, and else by nothing.
    using Answers = std::vector<std::pair<std::string, proto::Frame>>;
    explicit Cluster(const Answers &answers, const char *engine = "native",
                     const proto::Token &secret = proto::Token::random())
        : Cluster(
              [answers](const proto::Frame &frame, Link &link) {
                  for (const auto &[type, answer] : answers)
                      if (frame.type() == type) link.send(answer);
                  return true;
              },
              engine, secret) {}
    explicit Cluster(
        const OnFrame &on_frame, const char *engine = "native",
        const proto::Token &secret = proto::Token::random(), const OnOpen &on_open = [](Link &) {})
        : token(secret) {
        int ends[2];
        ck_assert_int_eq(::pipe(ends), 0);
        pid_ = ::fork();
        ck_assert_int_ge(pid_, 0);
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            ::close(ends[0]);
            play(ends[1], on_frame, on_open);
        }
        ::close(ends[1]);
        std::uint16_t port = 0;
        ck_assert_msg(::read(ends[0], &port, sizeof port) == sizeof port, "no port of the fake");
        ::close(ends[0]);
        address = "127.0.0.1:" + std::to_string(port);
        test::must(client::write_connection_file(
            file, {"7.0", engine, address, "n0", token, "", dashboard}));
    }
    Cluster(const Cluster &) = delete;
    Cluster &operator=(const Cluster &) = delete;
    ~Cluster() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }

    test::Scratch scratch;
    proto::Token token;
    std::string file = scratch / "cluster.json", address;
    std::string dashboard = "http://n0:8000/";

private:
    [[noreturn]] void play(int tell, const OnFrame &on_frame, const OnOpen &on_open) {
        ev::Loop loop;
        std::vector<std::unique_ptr<Link>> links;
        auto listener = ev::Listener::bind(loop, "127.0.0.1", 0, [&](Fd fd, const auto &) {
            auto n = links.size();
            auto hear = [&, n](const proto::Frame &frame) {
                if (!on_frame(frame, *links[n])) loop.post([&links, n] { links[n].reset(); });
            };
            links.push_back(
                Link::accept(loop, std::move(fd), token,
                             {.on_open = [&links, &on_open, n](auto) { on_open(*links[n]); },
                              .on_frame = hear,
                              .on_closed = [](bool, const std::string &) {}}));
        });
        if (!listener) ::_exit(1);
        std::uint16_t port = (*listener)->port();
        if (::write(tell, &port, sizeof port) != sizeof port) ::_exit(1);
        ::close(tell);
        loop.run();
        ::_exit(0);
    }

    pid_t pid_ = 0;
};

} // namespace dtask::fakes

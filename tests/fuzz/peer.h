// SPDX-License-Identifier: Apache-2.0
//
// Peer: the far end of a connection whose near end is ours: it holds the token,
// proves it, and then sends whatever a fuzzer likes, cut wherever it likes.
// Everything runs in the one loop, a turn at a time.
#pragma once

#include <string>
#include <string_view>

#include <sys/socket.h>

#include "lib/base/fd.h"
#include "lib/ev/loop.h"
#include "lib/proto/auth.h"
#include "tests/fuzz/target.h"

namespace dtask::fuzz {

/// What is due now.
inline void turn(ev::Loop &loop) {
    ev::Timer last(loop, [&] { loop.stop(); });
    last.set(0);
    loop.run();
}

class Peer {
public:
    Peer(ev::Loop &loop, Fd socket) : loop_(loop), socket_(std::move(socket)) {}

    /// Proves itself to a listener on `port` (0: of a socket pair).
    void prove(const proto::Token &token, proto::Role role, std::uint16_t port) {
        proto::Initiator initiator(token, role, port);
        send(initiator.hello());
        std::string answer;
        // The near end may have to be accepted first.
        for (int turns = 0; answer.size() < proto::answer_size && turns < 10'000; turns++) {
            turn(loop_);
            answer += receive(proto::answer_size - answer.size());
        }
        auto proof = initiator.prove(answer);
        promise(proof);
        send(*proof);
    }
    /// In pieces whose sizes the last of the bytes say; a turn after each.
    void send_cut(std::string_view bytes) {
        auto sizes = bytes.substr(bytes.size() - bytes.size() / 8);
        for (std::size_t i = 0; !bytes.empty(); i++) {
            auto size = sizes.empty() ? 1 : 1 + static_cast<unsigned char>(sizes[i % sizes.size()]);
            auto piece = bytes.substr(0, static_cast<std::size_t>(size));
            if (!send(piece)) return;
            bytes.remove_prefix(piece.size());
            turn(loop_);
        }
    }
    /// False where the near end has closed.
    bool send(std::string_view bytes) {
        return ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
               static_cast<ssize_t>(bytes.size());
    }
    std::string receive(std::size_t most) {
        std::string bytes(most, '\0');
        auto got = ::recv(socket_.get(), bytes.data(), most, MSG_DONTWAIT);
        bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
        return bytes;
    }
    void close() { socket_.reset(); }

private:
    ev::Loop &loop_;
    Fd socket_;
};

} // namespace dtask::fuzz

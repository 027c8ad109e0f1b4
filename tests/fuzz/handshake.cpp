// SPDX-License-Identifier: Apache-2.0
//
// A peer without the token, against both sides of the handshake and against a
// whole link: it never gets in.
#include <fcntl.h>
#include <sys/socket.h>

#include "lib/base/fd.h"
#include "lib/proto/auth.h"
#include "lib/proto/link.h"
#include "tests/fuzz/target.h"

using namespace dtask;
using namespace dtask::proto;

namespace {

const Token &secret() {
    static const Token token = Token::random();
    return token;
}

void against_a_link(std::string_view bytes) {
    static ev::Loop loop;
    int ends[2];
    promise(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    Fd ours(ends[0]);
    bool closed = false;
    auto link = Link::accept(loop, Fd(ends[1]), secret(),
                             {.on_open = [](Role) { promise(!"a stranger came in"); },
                              .on_frame = [](Frame) { promise(!"a stranger was heard"); },
                              .on_closed =
                                  [&](bool proven, const std::string &) {
                                      promise(!proven && !closed);
                                      closed = true;
                                      loop.stop();
                                  }});
    (void)write_all(ours.get(), bytes.substr(0, 4096)); // less than the socket holds
    ours.reset();
    loop.run();
    promise(closed);
}

} // namespace

DTASK_FUZZ_TARGET(handshake, bytes) {
    constexpr std::uint16_t port = 0; // of a socket pair
    Acceptor acceptor(secret(), port);
    auto hello = bytes.substr(0, hello_size);
    if (auto answer = acceptor.answer(hello)) {
        promise(answer->size() == answer_size);
        promise(!acceptor.check(bytes.substr(hello.size(), proof_size)));
        // Nor with the answer's own proof, sent back.
        promise(!acceptor.check(std::string_view(*answer).substr(answer_size - proof_size)));
    }
    Initiator initiator(secret(), Role::worker, port);
    promise(!initiator.prove(bytes.substr(0, answer_size)));
    against_a_link(bytes);
}

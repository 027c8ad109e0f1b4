// SPDX-License-Identifier: Apache-2.0
//
// A peer with the token against a whole link: the frames that it hears are
// those that its bytes hold, however they are cut, up to the first wrong one;
// and the end is told once.
#include "lib/proto/link.h"
#include "tests/fuzz/peer.h"

using namespace dtask;
using namespace dtask::proto;

namespace {

constexpr std::size_t most = 1 << 16; ///< less than the socket holds

/// How many frames the bytes hold, up to the first that is wrong or not whole.
std::size_t frames_in(std::string_view bytes) {
    for (std::size_t count = 0;; count++) {
        auto lengths = decode_lengths(bytes.substr(0, lengths_size));
        if (!lengths) return count;
        bytes.remove_prefix(lengths_size);
        if (bytes.size() < lengths->header || bytes.size() - lengths->header < lengths->payload)
            return count;
        if (!decode_header(bytes.substr(0, lengths->header))) return count;
        bytes.remove_prefix(lengths->header + lengths->payload);
    }
}

} // namespace

DTASK_FUZZ_TARGET(link, bytes) {
    static ev::Loop loop;
    static const Token token = Token::random();
    bytes = bytes.substr(0, most);
    int ends[2];
    promise(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    fuzz::Peer peer(loop, Fd(ends[0]));
    bool open = false, closed = false;
    std::size_t heard = 0;
    auto link = Link::accept(loop, Fd(ends[1]), token,
                             {.on_open =
                                  [&](Role role) {
                                      promise(role == Role::worker && !open);
                                      open = true;
                                  },
                              .on_frame =
                                  [&](const Frame &frame) {
                                      promise(open && !closed && !frame.type().empty());
                                      heard++;
                                  },
                              .on_closed =
                                  [&](bool proven, const std::string &) {
                                      promise(proven && !closed);
                                      closed = true;
                                      loop.stop();
                                  }});
    peer.prove(token, Role::worker, 0);
    peer.send_cut(bytes);
    peer.close();
    if (!closed) loop.run();
    promise(open && closed && heard == frames_in(bytes));
}

// SPDX-License-Identifier: Apache-2.0
//
// A peer with the token at a worker's door: what it asks for it gets in whole
// pieces or not at all, and others are still served after it.
#include <cerrno>

#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/net.h"
#include "lib/ev/stream.h"
#include "runtime/worker/door.h"
#include "tests/fuzz/peer.h"

using namespace dtask;
using namespace dtask::proto;

namespace {

constexpr std::uint64_t value_size = 3000;

struct Worker {
    ev::Loop loop;
    Token token = Token::random();
    std::unique_ptr<worker::Door> door;

    Worker() {
        (void)log::open("", log::Level::error, "/dev/null");
        auto made = worker::Door::open(
            loop, token, "127.0.0.1",
            {.describe = [] { return Register{}; }, .open_value = &Worker::open_value});
        promise(made);
        door = std::move(*made);
    }
    /// Value 1 is there and 2 is empty; there is no other.
    static Result<Fd> open_value(std::uint64_t data) {
        if (data != 1 && data != 2) return fail("no such value");
        Fd file(::memfd_create("value", MFD_CLOEXEC));
        if (data == 1 && ::ftruncate(file.get(), value_size) < 0) return fail_errno("ftruncate");
        return file;
    }
    fuzz::Peer visitor(Role role) {
        fuzz::Peer peer(loop, connected(door->port()));
        peer.prove(token, role, door->port());
        return peer;
    }
    static Fd connected(std::uint16_t port) {
        auto socket = ev::begin_connect(join_address("127.0.0.1", port));
        promise(socket);
        // Gone by a reset, so that thousands leave no ports behind.
        linger at_once{1, 0};
        ::setsockopt(socket->get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        pollfd writable{socket->get(), POLLOUT, 0};
        while (::poll(&writable, 1, -1) < 0) promise(errno == EINTR); // libFuzzer's alarm
        promise(writable.revents == POLLOUT);
        return std::move(*socket);
    }
};

/// Whole frames of the three kinds that a door sends.
void check_answers(std::string_view bytes) {
    while (bytes.size() >= lengths_size) {
        auto lengths = decode_lengths(bytes.substr(0, lengths_size));
        promise(lengths);
        bytes.remove_prefix(lengths_size);
        if (bytes.size() < lengths->header + lengths->payload) return;
        auto header = decode_header(bytes.substr(0, lengths->header));
        promise(header);
        auto type = header->string_or("t", "");
        promise(type == "data" || type == "gone" || type == "pong");
        promise(type != "data" || lengths->payload <= value_size);
        bytes.remove_prefix(lengths->header + lengths->payload);
    }
}

} // namespace

DTASK_FUZZ_TARGET(door, bytes) {
    static Worker worker;
    if (bytes.empty()) return;
    constexpr Role roles[]{Role::client, Role::worker, Role::control, Role::observer};
    auto peer = worker.visitor(roles[static_cast<unsigned char>(bytes[0]) % 4]);
    peer.send_cut(bytes.substr(1, 1 << 14));
    for (int turns = 0; turns < 3; turns++) fuzz::turn(worker.loop);
    check_answers(peer.receive(1 << 16));
    peer.close();
    fuzz::turn(worker.loop);
}

// SPDX-License-Identifier: Apache-2.0
//
// Site: one worker's half of a transfer over loopback; Liar: a door that is played, and does
// wrong.
#pragma once

#include <map>
#include <optional>

#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/net.h"
#include "runtime/worker/door.h"
#include "runtime/worker/fetcher.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"
#include "tests/unit/wait.h"

namespace dtask::test {

constexpr std::int64_t long_ms = 20'000;
inline const proto::Token secret = proto::Token::random();

/// Bytes that differ wherever one looks.
inline std::string pattern(std::size_t size) {
    std::string bytes(size, '\0');
    std::uint64_t state = size;
    for (auto &byte : bytes) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        byte = static_cast<char>(state >> 56);
    }
    return bytes;
}

/// One worker's half: its store, its door, what it fetches.
struct Site {
    Scratch scratch;
    worker::Store store;
    std::unique_ptr<worker::Door> door;
    std::map<std::uint64_t, std::string> told; ///< "" where it was fetched, else why not
    bool full = false;                         ///< the last time
    std::optional<worker::Fetcher> fetcher;
    std::optional<Fd> read; ///< shares its offset with the file that the door reads

    explicit Site(ev::Loop &loop, std::int64_t patience = worker::Fetcher::patience_ms) {
        must(log::open("", log::Level::error, "/dev/null"));
        store = must(worker::Store::open({scratch.path(), "", true, 0}));
        auto open = [this](std::uint64_t data) {
            auto file = store.open_value(data);
            if (file) read = Fd(::dup(file->get()));
            return file;
        };
        door = must(
            worker::Door::open(loop, secret, "127.0.0.1",
                               {.describe = [] { return proto::Register{}; }, .open_value = open}));
        auto tell = [this](std::uint64_t data, const std::string &why, bool is_full) {
            ck_assert_msg(!told.contains(data), "told twice");
            told[data] = why;
            full = is_full;
        };
        fetcher.emplace(
            loop, secret, store,
            worker::Fetcher::Callbacks{[tell](std::uint64_t data) { tell(data, "", false); }, tell},
            patience);
    }
    std::string address() const { return join_address("127.0.0.1", door->port()); }
    void add(std::uint64_t data, const std::string &bytes) {
        must(replace_file(store.path_of(data), bytes, 0600));
        must(store.add(data, bytes.size(), worker::Store::Origin::executor));
    }
    std::string value(std::uint64_t data) {
        return must(read_all(must(store.open_value(data)).get(), 100 * mib));
    }
    std::string outcome(ev::Loop &loop, std::uint64_t data) {
        wait_for(
            loop, "an outcome", [&] { return told.contains(data); }, long_ms);
        ck_assert_uint_eq(fetcher->incoming(), 0);
        if (!told[data].empty()) ck_assert(scratch.names().empty());
        return told[data];
    }
};

/// A listener that answers a `get` as a test likes.
struct Liar {
    std::vector<std::unique_ptr<proto::Link>> links;
    std::vector<proto::Frame> asked;
    std::unique_ptr<ev::Listener> listener;

    Liar(ev::Loop &loop, std::function<void(proto::Link &link, const proto::Frame &frame)> answer) {
        listener =
            must(ev::Listener::bind(loop, "127.0.0.1", 0, [&loop, answer, this](Fd fd, auto) {
                auto n = links.size();
                links.push_back(
                    proto::Link::accept(loop, std::move(fd), secret,
                                        {.on_open = [](proto::Role) {},
                                         .on_frame =
                                             [answer, n, this](proto::Frame frame) {
                                                 asked.push_back(frame);
                                                 answer(*links[n], frame);
                                             },
                                         .on_closed = [](bool, const std::string &) {}}));
            }));
    }
    std::string address() const { return join_address("127.0.0.1", listener->port()); }
    static proto::Frame data(std::uint64_t size, std::string payload) {
        proto::Frame frame = proto::make_frame("data");
        frame.header.set("size", size);
        frame.payload = std::move(payload);
        return frame;
    }
};

} // namespace dtask::test

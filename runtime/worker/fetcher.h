// SPDX-License-Identifier: Apache-2.0
//
// Fetcher: brings values from other workers' listeners into the store.
//
//   waiting ──a turn is free──▶ connecting ──proved──▶ receiving ──whole──▶ fetched
//      └── drop() at any time: nothing is told       └── anything wrong ──▶ unfetched
//
// A listener that is crowded by strangers closes connections that have not proved themselves yet,
// ours as well: such a one is tried again some times, later each time, for 6 s in all.
//
// A value is written beside its name and renamed when it is whole, on disk where
// there is no room in memory; of one that does not come nothing is left. At most eight come at a
// time. One that makes no progress for a minute is given up.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "lib/ev/loop.h"
#include "lib/proto/codec.h"
#include "lib/proto/link.h"
#include "runtime/worker/store.h"

namespace dtask::worker {

class Fetcher {
public:
    struct Callbacks {
        std::function<void(std::uint64_t data)> on_fetched;
        /// `full`: this node has no room for it.
        std::function<void(std::uint64_t data, const std::string &why, bool full)> on_unfetched;
        /// May so much more be in memory? It is then taken to be. Empty: always.
        std::function<bool(std::uint64_t size)> take_memory = {};
    };

    static constexpr std::int64_t patience_ms = 60'000; ///< given less only by tests

    /// `store` must outlive it.
    Fetcher(ev::Loop &loop, const proto::Token &token, Store &store, Callbacks callbacks,
            std::int64_t patience = patience_ms);
    Fetcher(const Fetcher &) = delete;
    Fetcher &operator=(const Fetcher &) = delete;
    ~Fetcher();

    /// One that is here already, or comes already, is answered once.
    void fetch(const proto::Fetch &what);
    /// Nobody needs it any more.
    void drop(std::uint64_t data);
    /// Bytes that are still to come.
    std::uint64_t incoming() const { return incoming_; }

private:
    struct Transfer {
        bool full = false; ///< what went wrong is that there is no room

        proto::Fetch what;
        std::uint64_t received = 0;
        bool on_disk = false;
        std::string path; ///< of the unfinished file; empty: none was made yet
        Fd file;
        std::unique_ptr<proto::Link> link;
        std::unique_ptr<ev::Timer> patience, again;
        unsigned closed = 0; ///< connections, before the listener's proof
    };

    void begin_waiting();
    Result<void> take_room(Transfer &transfer);
    Result<void> begin(Transfer &transfer);
    Result<void> connect(Transfer &transfer);
    void on_closed(std::uint64_t data, bool proven, const std::string &why);
    void on_frame(std::uint64_t data, const proto::Frame &frame);
    Result<void> take_piece(Transfer &transfer, const proto::Frame &frame);
    Result<void> settle(Transfer &transfer);
    void fail_with(std::uint64_t data, const std::string &why);
    void end(std::uint64_t data);

    ev::Loop &loop_;
    proto::Token token_;
    Store &store_;
    Callbacks callbacks_;
    std::int64_t patience_ms_;
    std::uint64_t incoming_ = 0;
    std::deque<proto::Fetch> waiting_;
    std::unordered_map<std::uint64_t, Transfer> transfers_;
};

} // namespace dtask::worker

// SPDX-License-Identifier: Apache-2.0
//
// Spill: moves values of the store from memory to the scratch directory where
// the worker runs short of memory, the least recently used first.
//
//   idle ──make_room──▶ copying a value ──whole──▶ the next, or idle
//                          │  └──freed──▶ the next, or idle
//                          └──disk full──▶ resting, half a minute ──▶ idle
//
// It copies one value at a time and a piece of it a turn, so that the worker
// answers its scheduler while it moves gigabytes. Meanwhile the worker begins no
// call: what is made faster than the disk takes it would pass the limit. Bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "lib/ev/loop.h"
#include "runtime/worker/store.h"

namespace dtask::worker {

class Spill {
public:
    /// `store` must outlive it. on_idle: a move that make_room() or give_way() began is over.
    Spill(ev::Loop &loop, Store &store, std::function<void()> on_idle = {});
    Spill(const Spill &) = delete;
    Spill &operator=(const Spill &) = delete;

    /// Begins to move values until `usage` will be below 70 % of `limit` (0: none)
    /// and the reserve of the store's file system is free.
    void make_room(std::uint64_t usage, std::uint64_t limit);
    /// Values have taken the memory that a call needed: begins to move all of them,
    /// and leaves calls twice as much from now on. False where nothing can be moved.
    bool give_way();
    /// How much may be in use before values are moved.
    std::uint64_t most(std::uint64_t limit) const;
    bool busy() const { return move_.has_value(); }
    /// Values stay in memory for now: there is no room on disk either.
    bool resting() const { return resting_; }

private:
    struct Move {
        Store::Ref value;
        std::string part;
        Fd from, to;
        std::uint64_t copied = 0;
    };

    void begin();
    void next();
    void step();
    Result<void> copy_piece();
    void finish();
    void rest(const std::string &why);

    Store &store_;
    std::function<void()> on_idle_;
    std::uint64_t percent_ = 70; ///< of the limit: what is beyond is for the executors
    std::uint64_t wanted_ = 0;   ///< to be moved yet
    bool all_ = false;           ///< whatever make_room() says meanwhile
    bool resting_ = false, told_ = false;
    std::optional<Move> move_;
    ev::Timer turn_, rest_;
};

} // namespace dtask::worker

// SPDX-License-Identifier: Apache-2.0
//
// Values: all that a worker does about values that stay on the workers: keeps
// what its executors store, brings what the scheduler asks it to, drops what
// it says is free, and moves what is too much from memory to disk.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "runtime/worker/executor.h"
#include "runtime/worker/fetcher.h"
#include "runtime/worker/memory.h"
#include "runtime/worker/spill.h"
#include "runtime/worker/store.h"

namespace dtask::worker {

/// The pickle of a call of dtask._store.load with `path`: what an executor gets
/// as an input whose value is in a store.
std::string load_call(std::string_view path);

class Values {
public:
    using Send = std::function<void(proto::Frame frame)>;

    /// `send`: to the scheduler. on_room: makes_room() is over.
    Values(ev::Loop &loop, const proto::Token &token, Store store, Send send,
           std::function<void()> on_room = {});
    Values(const Values &) = delete;
    Values &operator=(const Values &) = delete;

    const Store &store() const { return store_; }
    Result<Fd> open_value(std::uint64_t data) { return store_.open_value(data); }

    // From the scheduler
    Result<void> on_fetch(const proto::Frame &frame);
    Result<void> on_free(const proto::Frame &frame);
    /// An input that is in a store of this node, as the call gets it.
    void add_held_input(Call &call, std::string_view path);

    // From executors
    /// The size of what the executor says it has stored, as "123", or "123 spilled" where
    /// memory had no room; an error where it is not there.
    Result<std::uint64_t> keep(std::uint64_t task, std::string_view size);
    /// Of a task that was cancelled.
    void drop(std::uint64_t task) { store_.free(task); }
    void on_executor_dead(const Call &call, pid_t executor);

    /// What of the values executors may have mapped, `held`: of other stores.
    SharedMemory shared(std::uint64_t held) const;
    /// Has memory been taken since make_room() was called?
    bool grew() const { return grew_; }
    /// What is fetched until it is called again comes to memory as far as that leaves room.
    void make_room(std::uint64_t usage, std::uint64_t limit);
    /// Values are on their way to disk: calls that begin now might find no memory.
    bool makes_room() const { return spill_.busy(); }
    /// A call was killed at the limit: moves what values have of it, if they have any.
    bool give_way() { return spill_.give_way(); }

private:
    Store store_;
    Spill spill_;
    Send send_;
    Fetcher fetcher_;
    bool grew_ = false;
    std::uint64_t room_ = UINT64_MAX; ///< for what is fetched
};

} // namespace dtask::worker

// SPDX-License-Identifier: Apache-2.0
//
// Store: the values that this worker keeps (doc/protocol.md §6), each a file
// named by its number in a directory that executors, clients and other workers
// of the node read. It owns both directories: what it finds in them at its
// start is a dead worker's, and goes.
//
// A value is in shared memory, or spilled: a file in the directory `spill`,
// with a symbolic link in its place. Files are never written again once they
// have their name, so whoever has one open or mapped keeps what it has.
// Bytes.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>

#include <sys/types.h>

#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace dtask::worker {

class Store {
public:
    struct Place {
        std::string directory; ///< empty: no values are kept
        std::string spill;     ///< empty: none is moved
        bool in_memory = false;
        double reserve = 0.1; ///< part of its file system that is left to others
    };
    /// Who wrote a value: an executor, in its cgroup, or this process.
    enum class Origin { executor, fetched };
    /// A value as it is now: another of the same number has another stamp.
    struct Ref {
        std::uint64_t data, size, stamp;
    };

    Store() = default;
    Store(Store &&) = default;
    Store &operator=(Store &&) = default;
    static Result<Store> open(Place place);
    /// Is the directory on a file system that lives in memory?
    static bool is_memory(const std::string &directory);

    bool keeps() const { return !place_.directory.empty(); }
    bool can_spill() const { return place_.in_memory && !place_.spill.empty(); }
    const Place &place() const { return place_; }
    std::string path_of(std::uint64_t data) const;
    std::string spilled_path_of(std::uint64_t data) const;

    /// A value whose file has its name; an error where it is not there in that size.
    Result<void> add(std::uint64_t data, std::uint64_t size, Origin origin);
    /// One whose whole file lies at spilled_path_of(), under nobody's name yet.
    Result<void> add_spilled(std::uint64_t data, std::uint64_t size);
    void free(std::uint64_t data);
    /// Removes what an executor that has ended may have left of `task`'s value.
    void clear_up(std::uint64_t task, pid_t executor);
    bool has(std::uint64_t data) const { return values_.contains(data); }
    bool holds(const Ref &ref) const;
    /// It is used now, the last of all to be spilled.
    void touch(std::uint64_t data);
    Result<Fd> open_value(std::uint64_t data);

    /// The value in memory that was not used for the longest time.
    std::optional<Ref> oldest() const;
    /// A whole copy lies at spilled_path_of(): the link takes the value's place.
    Result<void> spilled(const Ref &ref);

    std::uint64_t bytes() const { return bytes_; } ///< of all values
    std::uint64_t bytes_in_memory() const { return in_memory_; }
    std::uint64_t bytes_fetched() const { return fetched_; } ///< of those in memory
    /// What must be moved for the reserve of its file system to be free.
    std::uint64_t shortage() const;
    /// Is there room for so much beside the reserve?
    bool has_room(std::uint64_t size) const;
    /// How much room there is where values can be, for a person.
    std::string room_text() const;

private:
    struct Value {
        std::uint64_t size = 0, stamp = 0;
        Origin origin = Origin::executor;
        bool in_memory = false, spilled = false;
        std::list<std::uint64_t>::iterator use = {}; ///< in order_, of one in memory
    };

    static Result<void> check(const std::string &path, std::uint64_t size);
    Result<void> link_spilled(std::uint64_t data);
    void forget(std::uint64_t data);
    void leave_memory(Value &value);

    Place place_;
    std::unordered_map<std::uint64_t, Value> values_;
    std::list<std::uint64_t> order_; ///< those in memory, the least recently used first
    std::uint64_t bytes_ = 0, in_memory_ = 0, fetched_ = 0, last_stamp_ = 0;
};

} // namespace dtask::worker

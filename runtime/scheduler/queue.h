// SPDX-License-Identifier: Apache-2.0
//
// Queue: ready tasks, the highest priority first, then in the order of their
// numbers: that of submission, which a client makes depth first for a graph.
// Numbers are mostly dense, so a task takes a bit, and not a node of a tree.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <functional>
#include <map>

#include "lib/base/ids.h"

namespace dtask::scheduler {

/// A set of task numbers that knows its lowest.
class TaskSet {
public:
    bool empty() const { return pages_.empty(); }

    void insert(TaskId id) {
        // As a rule it is of the last page, or begins the next.
        auto page = pages_.try_emplace(pages_.end(), id.value / page_bits);
        page->second[word_of(id)] |= bit_of(id);
    }
    void erase(TaskId id) {
        auto page = pages_.begin(); // where the next to run is
        if (page->first != id.value / page_bits) page = pages_.find(id.value / page_bits);
        page->second[word_of(id)] &= ~bit_of(id);
        for (auto word : page->second)
            if (word) return;
        pages_.erase(page);
    }
    TaskId first() const {
        const auto &[number, words] = *pages_.begin();
        std::size_t n = 0;
        while (words[n] == 0) n++;
        return {number * page_bits + n * 64 + static_cast<unsigned>(std::countr_zero(words[n]))};
    }

    std::uint64_t count() const { return count_before({UINT64_MAX}); }
    /// How many are lower than `id`.
    std::uint64_t count_before(TaskId id) const {
        std::uint64_t sum = 0;
        for (const auto &[number, words] : pages_) {
            if (number > id.value / page_bits) break;
            for (std::size_t n = 0; n < words.size(); n++) {
                auto first = number * page_bits + n * 64;
                auto bits = words[n];
                if (first + 63 >= id.value) // the ones below it
                    bits = first >= id.value
                               ? 0
                               : bits & ((std::uint64_t{1} << (id.value - first)) - 1);
                sum += static_cast<std::uint64_t>(std::popcount(bits));
            }
        }
        return sum;
    }

    /// Calls f(id) for each, the lowest first; f must not change the set.
    template <class F> void each(F f) const {
        for (const auto &[number, words] : pages_)
            for (std::size_t n = 0; n < words.size(); n++)
                for (auto bits = words[n]; bits; bits &= bits - 1)
                    f(TaskId{number * page_bits + n * 64 +
                             static_cast<unsigned>(std::countr_zero(bits))});
    }

private:
    static constexpr std::uint64_t page_bits = 512;
    using Words = std::array<std::uint64_t, page_bits / 64>;

    static std::size_t word_of(TaskId id) { return id.value % page_bits / 64; }
    static std::uint64_t bit_of(TaskId id) { return std::uint64_t{1} << id.value % 64; }

    std::map<std::uint64_t, Words> pages_; ///< none without a bit
};

/// By priority. No set in it is empty.
using Queue = std::map<std::int64_t, TaskSet, std::greater<>>;

} // namespace dtask::scheduler

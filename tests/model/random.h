// SPDX-License-Identifier: Apache-2.0
//
// Random: the same numbers from the same seed on every machine (splitmix64),
// which the distributions of the standard library do not promise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace dtask::model {

class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}

    std::uint64_t next() {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    /// 0 … n-1; 0 where n is 0.
    std::size_t below(std::size_t n) { return n == 0 ? 0 : next() % n; }
    /// Once in n times.
    bool once_in(std::size_t n) { return below(n) == 0; }
    template <class Container> auto &one_of(Container &from) {
        return from[below(std::size(from))];
    }

private:
    std::uint64_t state_;
};

} // namespace dtask::model

// SPDX-License-Identifier: Apache-2.0
#include "lib/model/ports.h"

#include <algorithm>

namespace dtask::model {

namespace {

// The finaliser of MurmurHash3 (Austin Appleby, public domain): spreads
// consecutive job numbers over the range.
std::uint64_t spread(std::uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ x >> 33;
}

} // namespace

std::vector<std::uint16_t> candidate_ports(std::uint32_t job, std::uint32_t step,
                                           std::uint16_t first, std::uint16_t last) {
    if (first == 0 || last < first) {
        first = default_first_port;
        last = default_last_port;
    }
    std::uint64_t size = std::uint64_t{last} - first + 1;
    std::uint64_t seed = std::uint64_t{job} << 32 | step;
    std::vector<std::uint16_t> ports;
    for (std::uint64_t n = 0; ports.size() < std::min<std::uint64_t>(candidate_count, size); n++) {
        // In a range that is hardly larger than the list, hashes repeat: count on from there.
        std::uint64_t offset = n < 64 ? spread(seed + (n << 48)) : n;
        auto port = static_cast<std::uint16_t>(first + offset % size);
        if (std::find(ports.begin(), ports.end(), port) == ports.end()) ports.push_back(port);
    }
    return ports;
}

} // namespace dtask::model

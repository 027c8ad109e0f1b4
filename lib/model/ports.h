// SPDX-License-Identifier: Apache-2.0
//
// Ports: where a step's scheduler may listen, as a pure function of the step,
// so that workers find it without a shared file. The scheduler takes the first
// of them that is free; whoever connects tries them in the same order, and the
// handshake tells whether it found the right one.
#pragma once

#include <cstdint>
#include <vector>

namespace dtask::model {

constexpr std::uint16_t default_first_port = 20000, default_last_port = 29999;
constexpr std::size_t candidate_count = 16;

/// At most candidate_count different ports of first..last (both 0: the
/// default range), spread so that neighbouring steps rarely share one.
std::vector<std::uint16_t> candidate_ports(std::uint32_t job, std::uint32_t step,
                                           std::uint16_t first, std::uint16_t last);

} // namespace dtask::model

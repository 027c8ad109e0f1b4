// SPDX-License-Identifier: Apache-2.0
//
// Nodes: what srun can learn of the step's first node before launch: the
// address under which slurm.conf knows it, and whether it is this machine, so
// that a wrong interface name is refused before anything starts. It costs a
// step two RPCs to slurmctld: its layout, and that node. Nothing here fails:
// what cannot be learnt stays empty.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dtask::spank {

struct NodeFacts {
    std::string host;   ///< numeric address, or a name that the nodes must resolve; may be empty
    bool local = false; ///< the node is this machine
};

/// Name of the step's first node; empty where slurmctld does not tell.
std::string first_node(std::uint32_t job, std::uint32_t step);

NodeFacts look_up_node(const std::string &name);

/// Decides from slurm.conf's NodeAddr and what it resolves to here. A loopback
/// address counts only where NodeAddr itself says so: Debian maps a machine's
/// own name to 127.0.1.1, which no other node could use.
std::string choose_host(const std::string &node_addr, const std::vector<std::string> &resolved);

/// Network interfaces of this machine.
std::vector<std::string> interfaces();

} // namespace dtask::spank

// SPDX-License-Identifier: Apache-2.0
//
// Host: facts that the kernel and the file system have: files, directories, cgroups,
// interfaces and ports.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/doctor/facts.h"

namespace dtask::doctor {

FileFact look_at_file(const std::string &path);
Directory look_at_directory(const std::string &path);
std::vector<Interface> interfaces();
/// How many ports of first..last somebody listens on.
unsigned busy_ports(unsigned first, unsigned last);

/// The Slurm that a SPANK plugin was built for, as "22.05": what its `plugin_version` says, read
/// from the file. It is not loaded: whose it is may be the question. Fails where it is none.
Result<std::string> slurm_of_plugin(const std::string &path);

/// Fills in what Facts has of cgroups and swap.
void look_at_cgroups(Facts &facts, const std::string &root);

} // namespace dtask::doctor

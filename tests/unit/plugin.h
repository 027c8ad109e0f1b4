// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the plugin's two sides share: its words in plugstack.conf, and the fake Slurm
// that it is in.
#pragma once

#include <string>
#include <vector>

#include "tests/fakes/spank.h"
#include "tests/unit/unit.h"

namespace dtask::test {

inline const std::string token(64, '7');
inline const std::vector<const char *> words{"launcher=/bin/true", "ports=20000-20009"};

inline fake::Slurm &slurm() { return fake::slurm; }

/// The tests of tests/unit/test_plugin_remote.cpp.
TCase *remote_tests();

} // namespace dtask::test

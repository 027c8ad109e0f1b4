// SPDX-License-Identifier: Apache-2.0
//
// The exit codes that dtask's own programs use beside the client's. They are
// those of sysexits.h where it has one, so that they are rarely a program's.
#pragma once

namespace dtask::exit_code {

constexpr int usage = 2;          ///< wrong option, value or surroundings
constexpr int unfit = 69;         ///< a worker that cannot serve, and has said so (EX_UNAVAILABLE)
constexpr int cluster_lost = 70;  ///< scheduler or client's launcher died (EX_SOFTWARE)
constexpr int no_scheduler = 71;  ///< a worker that found no scheduler (EX_OSERR)
constexpr int start_timeout = 75; ///< the cluster did not come up in time (EX_TEMPFAIL)
constexpr int other_version = 76; ///< an executor of another package than its worker (EX_PROTOCOL)
constexpr int cannot_execute = 126; ///< the command is there but cannot be run
constexpr int not_found = 127;      ///< the command was not found
constexpr int signal_base = 128;    ///< plus the signal that ended the client

} // namespace dtask::exit_code

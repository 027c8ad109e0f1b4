// SPDX-License-Identifier: Apache-2.0
//
// Connection file (doc/protocol.md §7): how someone outside of the step, as
// `dtask status`, finds its scheduler. It holds the token, so its mode is 0600
// and it appears whole. With the dask engine it is a scheduler file of Dask's
// own format, which `Client(scheduler_file=...)` reads, with ours inside.
#pragma once

#include <string>

#include "lib/base/result.h"
#include "lib/model/launch.h"
#include "lib/proto/auth.h"

namespace dtask::client {

struct Connection {
    std::string id, engine, address, node;
    proto::Token token;
    std::string dask;           ///< of the dask engine: address of Dask's scheduler
    std::string dashboard = {}; ///< address of the page for a browser; empty: there is none
};

/// Where the step's file is: the option's pattern, or .dtask/%J.json, in the
/// submit directory unless it is absolute.
std::string connection_file_path(const model::LaunchSpec &spec);

/// Makes missing directories (0700) and writes the file, over that of a cluster
/// that has ended but not over another's (runtime/client/probe.h).
Result<void> write_connection_file(const std::string &path, const Connection &connection);
Result<Connection> read_connection_file(const std::string &path);
/// The one that was chosen; else that of `variable`; else the newest in .dtask/ here.
Result<Connection> find_connection(const std::string &chosen, const std::string &variable);
/// Removes it if it is of the cluster with this token, for another step may
/// have taken the name, and the directory .dtask where nothing else is in it.
void remove_connection_file(const std::string &path, const proto::Token &token);

} // namespace dtask::client

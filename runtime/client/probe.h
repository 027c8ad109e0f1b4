// SPDX-License-Identifier: Apache-2.0
//
// Probe: may a step write its scheduler file at a path where there is one
// already? What a cluster that has ended left behind, whole or half-written,
// may be replaced without a word. Not so the file of a cluster that is running
// (its scheduler proves the file's token, or, of Dask's own files, answers at
// all), nor a file of anything else. Blocks for at most two seconds.
#pragma once

#include <string>

#include "lib/base/result.h"
#include "lib/proto/auth.h"

namespace dtask::client {

/// `own`: the token of the step that wants to write; its own file is no obstacle.
Result<void> may_write_connection_file(const std::string &path, const proto::Token &own);

} // namespace dtask::client

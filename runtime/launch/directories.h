// SPDX-License-Identifier: Apache-2.0
//
// Directories: what a task of the step has on its node, made at its start and
// removed with this: a scratch directory, and one in shared memory for the
// values that a worker keeps.
#pragma once

#include <string>

#include "lib/base/env.h"
#include "lib/base/result.h"
#include "lib/model/launch.h"
#include "runtime/launch/scratch.h"

namespace dtask::launch {

class Directories {
public:
    Directories() = default;
    /// Where --dtask-scratch or `task`'s TMPDIR says. With `shared_memory` (a
    /// directory) also the store: in it, or else on disk. A worker can do
    /// without a store, and has none in the engine dask.
    static Result<Directories> make(const model::LaunchSpec &spec, const Env &task,
                                    const std::string &shared_memory = "/dev/shm");

    const std::string &scratch() const { return scratch_.path(); } ///< empty: none was made
    const std::string &store() const { return store_path_; }       ///< empty: there is none

private:
    void make_store(const model::LaunchSpec &spec, const std::string &shared_memory);

    Scratch scratch_, store_;
    std::string store_path_; ///< in store_, or else in scratch_
};

} // namespace dtask::launch

// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/directories.h"

#include "lib/base/log.h"
#include "runtime/launch/place.h"

namespace dtask::launch {

Result<Directories> Directories::make(const model::LaunchSpec &spec, const Env &task,
                                      const std::string &shared_memory) {
    auto made =
        Scratch::make(scratch_base(spec.options.scratch, task), cluster_id(spec), spec.rank);
    if (!made) return fail("--dtask-scratch=" + made.error().text());
    Directories directories;
    directories.scratch_ = std::move(*made);
    if (spec.options.engine == model::Engine::native) directories.make_store(spec, shared_memory);
    return directories;
}

void Directories::make_store(const model::LaunchSpec &spec, const std::string &shared_memory) {
    auto made = Scratch::make(shared_memory, cluster_id(spec), spec.rank);
    if (made) {
        store_ = std::move(*made);
        store_path_ = store_.path();
        return;
    }
    auto on_disk = scratch_.path() + "/store";
    if (auto done = make_directories(on_disk, 0700); !done)
        return log::warning("the worker keeps no values: " + made.error().text() + "; " +
                            done.error().text());
    store_path_ = on_disk;
}

} // namespace dtask::launch

// SPDX-License-Identifier: Apache-2.0
//
// Environment: what each process of a task sees, as pure functions of the
// task's own environment. Rules:
//   - the launch specification reaches scheduler and worker only (handover),
//   - MPI's PMI belongs to the client: a worker is no rank of anything,
//   - what the user has set explicitly, as OMP_NUM_THREADS, stays.
#pragma once

#include <string>

#include "lib/base/env.h"
#include "lib/base/result.h"
#include "lib/model/launch.h"

namespace dtask::launch {

/// What the client is told of its cluster. memory_limit in bytes, 0 = none.
struct ClusterFacts {
    std::string address, scheduler_file;
    std::uint64_t workers = 0, nthreads = 0, memory_limit = 0;
};

Env client_environment(const Env &task, const model::LaunchSpec &spec, const ClusterFacts &facts,
                       const std::string &python_dir);
/// For the scheduler, and for what it starts in the dask engine.
Env service_environment(const Env &task, const model::LaunchSpec &spec, const std::string &python,
                        const std::string &python_dir);
/// Directories of a worker; empty where there is none.
struct WorkerPlace {
    std::string scratch, store;
};

/// For the worker and its executors.
Env worker_environment(const Env &task, const model::LaunchSpec &spec, const std::string &python,
                       const std::string &client_path, const WorkerPlace &place,
                       const std::string &python_dir);

/// Files with a task's TLS credentials, for Dask.
struct TlsFiles {
    std::string authority, certificate, key;
};

/// What every Python process of a step of the dask engine sees beside: quiet
/// logs, temporary files in `scratch`, and TLS with `files` unless they are
/// empty. What the user has set stays.
Env dask_environment(const Env &task, const TlsFiles &files, const std::string &scratch);

/// The directory that holds the package `dtask`: the source tree's where
/// `self`, the launcher, is in a build directory of that tree, else where
/// `make install` puts it.
std::string python_directory(const std::string &self);

} // namespace dtask::launch

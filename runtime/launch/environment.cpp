// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/environment.h"

#include <algorithm>
#include <filesystem>

#include "lib/base/strings.h"
#include "runtime/launch/handover.h"

namespace dtask::launch {

namespace {

// Last, so that nothing of the user's is hidden by it.
void append_python_path(Env &env, const std::string &directory) {
    auto present = env.get_or("PYTHONPATH", "");
    auto entries = split(present, ':');
    if (std::find(entries.begin(), entries.end(), directory) != entries.end()) return;
    env.set("PYTHONPATH", present.empty() ? directory : present + ':' + directory);
}

} // namespace

Env client_environment(const Env &task, const model::LaunchSpec &spec, const ClusterFacts &facts,
                       const std::string &python_dir) {
    Env env = task;
    env.unset(store_variable); // of a worker that started this step
    env.unset("DTASK_SPILL");
    env.unset("DTASK_WORKER");
    env.set("DTASK_ADDRESS", facts.address);
    env.set("DTASK_TOKEN", spec.token);
    env.set("DTASK_SCHEDULER_FILE", facts.scheduler_file);
    env.set("DTASK_ENGINE", model::name_of(spec.options.engine));
    env.set("DTASK_NWORKERS", std::to_string(facts.workers));
    env.set("DTASK_NTHREADS", std::to_string(facts.nthreads));
    env.set("DTASK_MEMORY_LIMIT", std::to_string(facts.memory_limit));
    append_python_path(env, python_dir);
    if (spec.options.engine == model::Engine::dask) {
        env.set("DASK_SCHEDULER_ADDRESS", facts.address);
        env.set("DTASK_INTERFACE_USED",
                model::value_of(spec.options, *model::find_key("interface")));
        // Scripts written for dask_mpi find ours, whatever is installed.
        auto present = env.get_or("PYTHONPATH", "");
        env.set("PYTHONPATH",
                python_dir + "/dtask/_shims" + (present.empty() ? "" : ":" + present));
    }
    return env;
}

Env dask_environment(const Env &task, const TlsFiles &files, const std::string &scratch) {
    Env env = task;
    if (!env.get("DASK_TEMPORARY_DIRECTORY")) env.set("DASK_TEMPORARY_DIRECTORY", scratch);
    if (!env.get("DASK_LOGGING__DISTRIBUTED")) env.set("DASK_LOGGING__DISTRIBUTED", "warning");
    if (files.authority.empty()) return env;
    const std::string comm = "DASK_DISTRIBUTED__COMM__";
    env.set(comm + "REQUIRE_ENCRYPTION", "True");
    env.set(comm + "DEFAULT_SCHEME", "tls");
    env.set(comm + "TLS__CA_FILE", files.authority);
    for (auto role : {"SCHEDULER", "WORKER", "CLIENT"}) {
        env.set(comm + "TLS__" + role + "__CERT", files.certificate);
        env.set(comm + "TLS__" + role + "__KEY", files.key);
    }
    return env;
}

Env service_environment(const Env &task, const model::LaunchSpec &spec, const std::string &python,
                        const std::string &python_dir) {
    Env env = task;
    env.unset_prefix("PMI");
    env.unset("DTASK_WORKER"); // of a step around this one: it tells whose a process is
    env.set(handover_variable, model::to_text(spec));
    env.set("DTASK_PYTHON", python);
    append_python_path(env, python_dir);
    return env;
}

Env worker_environment(const Env &task, const model::LaunchSpec &spec, const std::string &python,
                       const std::string &client_path, const WorkerPlace &place,
                       const std::string &python_dir) {
    Env env = service_environment(task, spec, python, python_dir);
    if (!client_path.empty()) env.set("DTASK_CLIENT_PATH", client_path);
    if (!place.scratch.empty()) env.set("DTASK_SCRATCH", place.scratch);
    env.unset(store_variable); // of a step around this one
    if (!place.store.empty()) env.set(store_variable, place.store);
    if (!spec.options.preload.empty()) {
        env.set("DTASK_PRELOAD", spec.options.preload);
        std::string list;
        for (auto name : split(spec.options.preload, ','))
            list.append(list.empty() ? "['" : ", '").append(name).append("'");
        env.set("DASK_DISTRIBUTED__WORKER__PRELOAD", list + "]"); // by Dask's own means
    }
    auto threads = std::to_string(std::max(1u, spec.worker_cpus / spec.options.concurrency));
    for (auto name :
         {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"})
        if (!env.get(name)) env.set(name, threads);
    return env;
}

std::string python_directory(const std::string &self) {
    auto tree = std::filesystem::path(self).parent_path().parent_path() / "python";
    std::error_code error;
    return std::filesystem::exists(tree / "dtask" / "__init__.py", error) ? tree.string()
                                                                          : DTASK_PYTHON_DIR;
}

} // namespace dtask::launch

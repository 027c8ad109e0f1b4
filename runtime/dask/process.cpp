// SPDX-License-Identifier: Apache-2.0
#include "runtime/dask/process.h"

#include <csignal>

#include "lib/base/log.h"
#include "runtime/launch/interpreter.h"

namespace dtask::dask {

namespace {

constexpr std::size_t longest_line = 4096;

} // namespace

Process::Process(ev::Loop &loop, pid_t pid, Fd socket, Callbacks callbacks)
    : callbacks_(std::move(callbacks)), pid_(pid),
      stream_(loop, std::move(socket),
              {.on_data = [this] { on_data(); }, .on_closed = [](const std::string &) {}}) {}

Process::~Process() {
    if (!reaped_) kill();
}

Result<std::unique_ptr<Process>> Process::start(ev::Loop &loop, SpawnSpec spec,
                                                Callbacks callbacks) {
    auto pair = socket_pair();
    if (!pair) return fail_from(std::move(pair));
    spec.pass_fd = pair->theirs.get();
    spec.new_group = true;
    spec.null_stdin = true;
    auto pid = spawn(spec);
    if (!pid) return fail_from(std::move(pid), "Dask");
    return std::unique_ptr<Process>(
        new Process(loop, *pid, std::move(pair->ours), std::move(callbacks)));
}

void Process::on_data() {
    auto text = stream_.peek(stream_.available());
    auto end = text.find('\n');
    if (end == std::string_view::npos) {
        if (text.size() > longest_line) stream_.silence();
        return;
    }
    auto json = Json::parse(text.substr(0, end));
    stream_.drop(stream_.available());
    if (!address_.empty()) return;
    if (json && !json->string_or("failed", "").empty()) {
        why_ = json->string_or("failed", "");
        return; // it ends now
    }
    auto address = json ? json->string("address") : Result<std::string>(fail_from(std::move(json)));
    if (!address) {
        log::error("from Dask: " + address.error().text());
        return kill();
    }
    address_ = *address;
    // NOLINTNEXTLINE(bugprone-use-after-move): moved only where there is no address
    callbacks_.on_serving({*address, json->string_or("dashboard", "")});
}

void Process::tell(const Json &what) { stream_.write(what.compact() + "\n"); }

void Process::kill() {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL); // the group is not made yet where it has hardly begun
}

void Process::on_reaped(int status) {
    reaped_ = true;
    stream_.pull();         // its last words
    ::kill(-pid_, SIGKILL); // its children go with it
    stream_.silence();
    callbacks_.on_exit(status);
}

Result<SpawnSpec> dask_command(const std::string &role, const Env &env) {
    auto spec = launch::python_command(env, {"dtask._dask", role});
    if (!spec) return fail_from(std::move(spec), "interpreter of Dask");
    spec->many_descriptors = role == "scheduler";
    if (auto scratch = env.get("DTASK_SCRATCH"))
        spec->env.set("TMPDIR", *scratch); // what is left in it goes with the step
    return spec;
}

} // namespace dtask::dask

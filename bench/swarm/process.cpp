// SPDX-License-Identifier: Apache-2.0
#include "bench/swarm/process.h"

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/spawn.h"
#include "runtime/client/connection_file.h"
#include "runtime/launch/handover.h"

namespace dtask::swarm {

namespace {

constexpr int start_ms = 10'000, look_ms = 5;

} // namespace

Result<Process> Process::start(const std::string &dtaskd, std::uint32_t workers) {
    std::string directory = std::filesystem::temp_directory_path() / "dtask-scale-XXXXXX";
    if (!::mkdtemp(directory.data())) return fail_errno(directory);

    auto token = proto::Token::random();
    model::LaunchSpec spec;
    spec.token = token.hex();
    spec.ntasks = spec.local_ntasks = workers;
    spec.node = spec.scheduler_node = "localhost";
    spec.scheduler_host = "127.0.0.1";
    spec.submit_dir = directory;
    spec.options.slots = model::SlotMode::overlap; // as many workers as tasks
    spec.options.scheduler_file = directory + "/scheduler.json";
    spec.step = static_cast<std::uint32_t>(::getpid()); // ports of its own

    SpawnSpec program;
    program.program = dtaskd;
    program.argv = {dtaskd, "scheduler"};
    program.env = Env::current();
    program.env.set(launch::handover_variable, model::to_text(spec));
    program.many_descriptors = true;
    auto pid = spawn(program);
    if (!pid) return fail_from(std::move(pid));
    Process self(*pid, directory, token);
    for (int waited = 0; waited < start_ms; waited += look_ms) {
        if (auto connection = client::read_connection_file(spec.options.scheduler_file)) {
            self.address_ = connection->address;
            return self;
        }
        if (::waitpid(self.pid_, nullptr, WNOHANG) != 0) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(look_ms));
    }
    return fail(dtaskd + " scheduler does not serve");
}

Process::Process(Process &&other) noexcept
    : pid_(std::exchange(other.pid_, 0)), directory_(std::exchange(other.directory_, {})),
      address_(std::move(other.address_)), token_(other.token_) {}

void Process::kill() const { ::kill(pid_, SIGKILL); }

Process::~Process() {
    if (pid_ > 0) {
        kill();
        ::waitpid(pid_, nullptr, 0);
    }
    std::error_code ignored;
    if (!directory_.empty()) std::filesystem::remove_all(directory_, ignored);
}

std::int64_t Process::cpu_ns() const {
    clockid_t clock;
    timespec time{};
    if (::clock_getcpuclockid(pid_, &clock) == 0) ::clock_gettime(clock, &time);
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

std::uint64_t Process::resident() const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/statm");
    std::uint64_t whole = 0, resident = 0;
    file >> whole >> resident;
    return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::uint64_t Process::system_percent() const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/stat");
    std::string line;
    std::getline(file, line);
    std::istringstream fields(line.substr(line.rfind(')') + 1));
    std::string skipped;
    for (int i = 0; i < 11; i++) fields >> skipped; // state to cmajflt
    std::uint64_t user = 0, system = 0;
    fields >> user >> system;
    return user + system == 0 ? 0 : 100 * system / (user + system);
}

} // namespace dtask::swarm

// SPDX-License-Identifier: Apache-2.0
//
// Process: the scheduler under test, a real `dtaskd scheduler` of its own, and
// what the kernel says of it: CPU time in ns, resident memory in bytes.
//
// It owns the process and a directory for its connection file; both are gone
// when it is destroyed.
#pragma once

#include <cstdint>
#include <string>

#include <sys/types.h>

#include "lib/base/result.h"
#include "lib/proto/auth.h"

namespace dtask::swarm {

class Process {
public:
    /// Starts the program `dtaskd` for `workers` expected workers and waits until it serves.
    static Result<Process> start(const std::string &dtaskd, std::uint32_t workers);
    Process(Process &&other) noexcept;
    Process &operator=(Process &&) = delete;
    ~Process();

    const std::string &address() const { return address_; }
    const proto::Token &token() const { return token_; }

    /// Its peers leave next: it is not to see them go.
    void kill() const;
    std::int64_t cpu_ns() const;          ///< user and system
    std::uint64_t resident() const;       ///< bytes, now
    std::uint64_t system_percent() const; ///< of its CPU time, in the kernel

private:
    Process(pid_t pid, std::string directory, proto::Token token)
        : pid_(pid), directory_(std::move(directory)), token_(token) {}

    pid_t pid_;
    std::string directory_, address_;
    proto::Token token_;
};

} // namespace dtask::swarm

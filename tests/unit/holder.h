// SPDX-License-Identifier: Apache-2.0
//
// Holder: a child that holds so much memory, or has so much of a file mapped and touched, until it
// is told to end.
#pragma once

#include <csignal>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/unit.h"

namespace dtask::test {

class Holder {
public:
    /// `file`: a descriptor; -1: memory of its own.
    explicit Holder(std::size_t bytes, int file = -1) {
        int ends[2];
        ck_assert_int_eq(::pipe(ends), 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            int kind = file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
            void *block = ::mmap(nullptr, bytes, file < 0 ? PROT_READ | PROT_WRITE : PROT_READ,
                                 kind | MAP_POPULATE, file, 0);
            ssize_t told = ::write(ends[1], "x", block != MAP_FAILED ? 1 : 0);
            for (;;) ::pause();
            (void)told;
        }
        char c;
        ck_assert_int_eq(::read(ends[0], &c, 1), 1);
        ::close(ends[0]);
        ::close(ends[1]);
    }
    Holder(const Holder &) = delete;
    Holder &operator=(const Holder &) = delete;
    ~Holder() { end(); }
    void end() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        pid_ = 0;
    }
    pid_t pid() const { return pid_; }

private:
    pid_t pid_;
};

} // namespace dtask::test

// SPDX-License-Identifier: Apache-2.0
//
// A fuzz target: one function over bytes that may hold anything. It must not
// crash, nor break a promise that the room makes: `promise` ends the process.
//
//   DTASK_FUZZ_TARGET(frame, bytes) { ... }
//
// With --enable-fuzzing each file is a libFuzzer program of its own. Without,
// all of them are in tests/fuzz/replay, which gives each its corpus: that is a
// test of `make check`.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace dtask::fuzz {

using Target = void (*)(std::string_view bytes);

/// Known to tests/fuzz/replay by this name.
struct Registered {
    Registered(const char *name, Target target);
};

} // namespace dtask::fuzz

#define promise(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: promise broken: %s (%m)\n", __FILE__, __LINE__,           \
                         #condition);                                                              \
            std::abort();                                                                          \
        }                                                                                          \
    } while (0)

#ifdef DTASK_FUZZING
#define DTASK_FUZZ_TARGET(name, bytes)                                                             \
    static void fuzz_##name(std::string_view bytes);                                               \
    extern "C" __attribute__((visibility("default"))) int LLVMFuzzerTestOneInput(                  \
        const std::uint8_t *data, std::size_t size) {                                              \
        fuzz_##name({reinterpret_cast<const char *>(data), size});                                 \
        return 0;                                                                                  \
    }                                                                                              \
    static void fuzz_##name(std::string_view bytes)
#else
#define DTASK_FUZZ_TARGET(name, bytes)                                                             \
    static void fuzz_##name(std::string_view bytes);                                               \
    static const dtask::fuzz::Registered registered_##name(#name, fuzz_##name);                    \
    static void fuzz_##name(std::string_view bytes)
#endif

// SPDX-License-Identifier: Apache-2.0
//
// What the unit tests share: checks on Results that show the error, and main().
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <type_traits>

#include <check.h>
// An old name for ck_abort, and one of our functions.
#undef fail

#include "lib/base/result.h"

namespace dtask::test {

constexpr std::uint64_t mib = 1 << 20;

/// What a test wants to tell before it fails, or a program that is no test to do instead; null:
/// nothing.
inline void (*before_failure)(const char *why) = nullptr;

#define abort_test(...)                                                                            \
    do {                                                                                           \
        if (dtask::test::before_failure) {                                                         \
            char why_[500];                                                                        \
            std::snprintf(why_, sizeof why_, __VA_ARGS__);                                         \
            dtask::test::before_failure(why_);                                                     \
        }                                                                                          \
        ck_abort_msg(__VA_ARGS__);                                                                 \
    } while (0)

/// The value, or the end of the test with the error.
template <class T> T must(Result<T> result) {
    if (!result) abort_test("unexpected failure: %s", result.error().text().c_str());
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}

/// The error's text, or the end of the test where there is none.
template <class T> std::string error_of(const Result<T> &result) {
    if (result) ck_abort_msg("unexpected success");
    return result.error().text();
}

inline bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != text.npos;
}

inline int run(Suite *suite) {
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

} // namespace dtask::test

#define ck_text_eq(actual, expected)                                                               \
    do {                                                                                           \
        std::string actual_(actual), expected_(expected);                                          \
        ck_assert_str_eq(actual_.c_str(), expected_.c_str());                                      \
    } while (0)
#define ck_contains(text, part)                                                                    \
    do {                                                                                           \
        std::string text_(text), part_(part);                                                      \
        if (!dtask::test::contains(text_, part_))                                                  \
            ck_abort_msg("\"%s\" does not contain \"%s\"", text_.c_str(), part_.c_str());          \
    } while (0)

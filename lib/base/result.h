// SPDX-License-Identifier: Apache-2.0
//
// Result: how every fallible function of the project reports failure.
//
// An Error is one line of text for a person, built from the inside out: the
// place that failed says what failed, each layer above puts its context in
// front with `context()`. Nothing below the entry points prints or exits; they
// return a Result and the entry point decides.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include <tl/expected.hpp>

namespace dtask {

class [[nodiscard]] Error {
public:
    explicit Error(std::string text) : text_(std::move(text)) {}

    const std::string &text() const { return text_; }

    Error context(std::string_view where) && {
        text_.insert(0, ": ").insert(0, where);
        return std::move(*this);
    }

private:
    std::string text_;
};

template <class T> using Result = tl::expected<T, Error>;

/// A failure with the text `what`; converts to any Result<T>.
inline tl::unexpected<Error> fail(std::string what) {
    return tl::unexpected<Error>(Error(std::move(what)));
}

/// A failure `what: strerror(err)`.
inline tl::unexpected<Error> fail_errno(std::string_view what, int err = errno) {
    return fail(std::string(what) + ": " + std::strerror(err));
}

/// Hands the failure of `r` on with `where` in front of it.
template <class T> tl::unexpected<Error> fail_from(Result<T> &&r, std::string_view where) {
    return tl::unexpected<Error>(std::move(r).error().context(where));
}

/// Hands the failure of `r` on as it is.
template <class T> tl::unexpected<Error> fail_from(Result<T> &&r) {
    return tl::unexpected<Error>(std::move(r).error());
}

} // namespace dtask

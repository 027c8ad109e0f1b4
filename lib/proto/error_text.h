// SPDX-License-Identifier: Apache-2.0
//
// ErrorText: the texts of a pickled error (doc/protocol.md §5), read without Python, to be shown
// where there is none. Of pickle only what such a tuple is made of is known: a string, bytes,
// None. Nothing is ever run; what is not as expected is no error that can be read.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace dtask::proto {

struct ErrorText {
    std::string type, message, traceback;
};

std::optional<ErrorText> read_error(std::string_view pickled);

} // namespace dtask::proto

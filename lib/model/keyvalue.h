// SPDX-License-Identifier: Apache-2.0
//
// Keyvalue: the text form in which options and launch specifications travel
// through an environment variable: lines of "key=value". In a value, '%',
// control characters and DEL are written as %XX, so any byte but NUL survives
// and a line is a line. Reading is strict: a line without '=', an empty or
// repeated key, a bad escape is an error. No error text holds a value, since
// a value may be secret.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/result.h"

namespace dtask::model {

std::string escape(std::string_view value);
Result<std::string> unescape(std::string_view text);

using KeyValues = std::vector<std::pair<std::string, std::string>>;

std::string write_pairs(const KeyValues &pairs);
/// The pairs in their order, values unescaped. A final newline may be missing.
Result<KeyValues> read_pairs(std::string_view text);

} // namespace dtask::model

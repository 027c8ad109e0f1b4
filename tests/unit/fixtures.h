// SPDX-License-Identifier: Apache-2.0
//
// The byte fixtures of tests/fixtures/protocol, which the Python side reads too.
#pragma once

#include <string>

#include "lib/base/fd.h"
#include "lib/base/strings.h"
#include "lib/json/json.h"
#include "tests/unit/unit.h"

namespace dtask::test {

inline std::string fixture(const std::string &name) {
    return must(read_file(DTASK_SOURCE_DIR "/tests/fixtures/protocol/" + name));
}

inline Json fixture_index() { return must(Json::parse(fixture("index.json"))); }

inline std::string bytes_of(const Json &json, const char *member) {
    auto bytes = from_hex(must(json.string(member)));
    ck_assert_msg(bytes.has_value(), "\"%s\" is not hexadecimal", member);
    return *bytes;
}

} // namespace dtask::test

// SPDX-License-Identifier: Apache-2.0
//
// The options' text form, and single values as a user writes them.
#include "lib/model/options.h"
#include "lib/model/keyvalue.h"
#include "tests/fuzz/target.h"

using namespace dtask;
using namespace dtask::model;

DTASK_FUZZ_TARGET(options, bytes) {
    if (auto options = options_from_text(bytes)) {
        auto again = options_from_text(to_text(*options));
        promise(again && *again == *options);
    }
    // "slots=packed" to every way in.
    auto equals = bytes.find('=');
    auto value = equals == bytes.npos ? std::string_view() : bytes.substr(equals + 1);
    for (const auto &option : option_table()) {
        Options options;
        if (auto done = parse(options, option, value); !done) {
            promise(options == Options());
            promise(done.error().text().find('\n') == std::string::npos);
            continue;
        }
        auto again = options_from_text(to_text(options));
        promise(again && *again == options);
        Options same;
        promise(parse(same, option, value_of(options, option)) && same == options);
    }
    auto back = unescape(escape(bytes));
    promise(bytes.find('\0') != bytes.npos ? !back : back && *back == bytes);
}

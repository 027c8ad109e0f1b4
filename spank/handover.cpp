// SPDX-License-Identifier: Apache-2.0
#include "spank/handover.h"

#include <array>

#include <sys/random.h>

#include "lib/base/strings.h"
#include "lib/model/keyvalue.h"

namespace dtask::spank {
namespace {

constexpr std::string_view host_key = "scheduler_host";

} // namespace

std::string to_text(const Handover &handover) {
    return model::to_text(handover.options) +
           model::write_pairs({{std::string(host_key), handover.scheduler_host}});
}

Result<Handover> handover_from_text(std::string_view text) {
    auto pairs = model::read_pairs(text);
    if (!pairs) return fail_from(std::move(pairs));
    Handover handover;
    model::KeyValues options;
    for (auto &pair : *pairs) {
        if (pair.first == host_key)
            handover.scheduler_host = std::move(pair.second);
        else
            options.push_back(std::move(pair));
    }
    auto parsed = model::options_from_text(model::write_pairs(options));
    if (!parsed) return fail_from(std::move(parsed));
    handover.options = std::move(*parsed);
    return handover;
}

Result<std::string> make_token() {
    std::array<char, 32> bytes;
    // Up to 256 bytes come whole or not at all; EINTR only before the pool is ready.
    ssize_t got;
    do {
        got = ::getrandom(bytes.data(), bytes.size(), 0);
    } while (got < 0 && errno == EINTR);
    if (got != static_cast<ssize_t>(bytes.size())) return fail_errno("getrandom");
    return to_hex({bytes.data(), bytes.size()});
}

} // namespace dtask::spank

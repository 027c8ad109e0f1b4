// SPDX-License-Identifier: Apache-2.0
#include "lib/base/env.h"

#include <unistd.h>

namespace dtask {

Env Env::current() { return from(environ); }

Env Env::from(const char *const *block) {
    Env env;
    for (; block && *block; block++) {
        std::string_view entry = *block;
        auto equals = entry.find('=');
        if (equals == std::string_view::npos || equals == 0) continue;
        env.values_.emplace(entry.substr(0, equals), entry.substr(equals + 1));
    }
    return env;
}

std::optional<std::string_view> Env::get(std::string_view name) const {
    auto found = values_.find(name);
    if (found == values_.end()) return {};
    return found->second;
}

std::string Env::get_or(std::string_view name, std::string_view otherwise) const {
    return std::string(get(name).value_or(otherwise));
}

void Env::set(std::string_view name, std::string_view value) {
    values_.insert_or_assign(std::string(name), std::string(value));
}

void Env::unset(std::string_view name) {
    if (auto found = values_.find(name); found != values_.end()) values_.erase(found);
}

void Env::unset_prefix(std::string_view prefix) {
    auto it = values_.lower_bound(prefix);
    while (it != values_.end() && it->first.starts_with(prefix)) it = values_.erase(it);
}

std::vector<std::string> Env::strings() const {
    std::vector<std::string> all;
    all.reserve(values_.size());
    for (const auto &[name, value] : values_) all.push_back(name + '=' + value);
    return all;
}

} // namespace dtask

// SPDX-License-Identifier: Apache-2.0
//
// Env: the environment as a value. An entry point takes it once and hands it
// down; nothing else calls getenv. Where a name stands twice the first wins,
// as with getenv.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dtask {

class Env {
public:
    Env() = default;
    static Env current();
    static Env from(const char *const *block);

    std::optional<std::string_view> get(std::string_view name) const;
    std::string get_or(std::string_view name, std::string_view otherwise) const;
    void set(std::string_view name, std::string_view value);
    void unset(std::string_view name);
    /// Drops every variable whose name begins with `prefix`.
    void unset_prefix(std::string_view prefix);

    /// "NAME=value" lines; what execve wants once turned into pointers.
    std::vector<std::string> strings() const;

private:
    std::map<std::string, std::string, std::less<>> values_;
};

} // namespace dtask

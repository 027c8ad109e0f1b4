// SPDX-License-Identifier: Apache-2.0
//
// Json: a JSON value with shared ownership. This folder is the only includer
// of <jansson.h>. Reading is strict: a member that is missing or of another
// type is an error that names it. Numbers are unsigned or signed 64-bit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

struct json_t;

namespace dtask {

class Json {
public:
    static Json object();
    static Json array();
    static Result<Json> parse(std::string_view text);

    Json(const Json &other);
    Json(Json &&other) noexcept;
    Json &operator=(Json other) noexcept;
    ~Json();

    Json &set(const char *name, std::string_view value);
    Json &set(const char *name, const char *value) { return set(name, std::string_view(value)); }
    Json &set(const char *name, std::int64_t value);
    Json &set(const char *name, std::uint64_t value) {
        return set(name, static_cast<std::int64_t>(value));
    }
    Json &set(const char *name, int value) { return set(name, static_cast<std::int64_t>(value)); }
    Json &set(const char *name, unsigned value) {
        return set(name, static_cast<std::int64_t>(value));
    }
    Json &set(const char *name, double value);
    Json &set(const char *name, const std::vector<std::uint64_t> &column);
    Json &set(const char *name, Json value);
    Json &append(Json value);

    bool has(const char *name) const;
    Result<std::string> string(const char *name) const;
    Result<std::int64_t> integer(const char *name) const;
    /// A number ≥ 0.
    Result<std::uint64_t> natural(const char *name) const;
    /// An array of numbers ≥ 0.
    Result<std::vector<std::uint64_t>> column(const char *name) const;
    Result<Json> member(const char *name) const;
    Result<Json> list(const char *name) const; ///< an array, of whatever
    /// An array of strings.
    Result<std::vector<std::string>> strings(const char *name) const;
    std::vector<std::string> names() const; ///< of an object's members
    std::string string_or(const char *name, std::string_view otherwise) const;
    std::int64_t integer_or(const char *name, std::int64_t otherwise) const;

    std::size_t size() const; ///< of an array
    Json at(std::size_t i) const;

    std::string compact() const;
    std::string indented() const;

private:
    explicit Json(json_t *owned) : value_(owned) {}
    json_t *value_;
};

} // namespace dtask

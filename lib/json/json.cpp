// SPDX-License-Identifier: Apache-2.0
#include "lib/json/json.h"

#include <cstdlib>
#include <memory>
#include <utility>

#include <jansson.h>

namespace dtask {

namespace {

tl::unexpected<Error> wrong(const char *name, const char *wanted) {
    return fail(std::string("\"") + name + "\" is missing or not " + wanted);
}

std::string dumped(json_t *value, std::size_t flags) {
    std::unique_ptr<char, decltype(&std::free)> text(json_dumps(value, flags | JSON_ENCODE_ANY),
                                                     &std::free);
    return text ? text.get() : "";
}

} // namespace

Json Json::object() { return Json(json_object()); }
Json Json::array() { return Json(json_array()); }

Result<Json> Json::parse(std::string_view text) {
    json_error_t error;
    json_t *value = json_loadb(text.data(), text.size(), JSON_REJECT_DUPLICATES, &error);
    if (!value) return fail(std::string("not JSON: ") + error.text);
    return Json(value);
}

Json::Json(const Json &other) : value_(json_incref(other.value_)) {}
Json::Json(Json &&other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
Json &Json::operator=(Json other) noexcept {
    std::swap(value_, other.value_);
    return *this;
}
Json::~Json() { json_decref(value_); }

Json &Json::set(const char *name, std::string_view value) {
    // jansson takes UTF-8 only; what is not, as a file name may be, is escaped.
    json_t *text = json_stringn(value.data(), value.size());
    if (!text) {
        std::string ascii;
        for (char c : value) ascii += static_cast<unsigned char>(c) < 0x80 ? c : '?';
        text = json_stringn(ascii.data(), ascii.size());
    }
    json_object_set_new(value_, name, text);
    return *this;
}

Json &Json::set(const char *name, std::int64_t value) {
    json_object_set_new(value_, name, json_integer(value));
    return *this;
}

Json &Json::set(const char *name, double value) {
    json_object_set_new(value_, name, json_real(value));
    return *this;
}

Json &Json::set(const char *name, const std::vector<std::uint64_t> &column) {
    json_t *array = json_array();
    for (auto n : column) json_array_append_new(array, json_integer(static_cast<json_int_t>(n)));
    json_object_set_new(value_, name, array);
    return *this;
}

Json &Json::set(const char *name, Json value) {
    json_object_set_new(value_, name, std::exchange(value.value_, nullptr));
    return *this;
}

Json &Json::append(Json value) {
    json_array_append_new(value_, std::exchange(value.value_, nullptr));
    return *this;
}

Result<std::string> Json::string(const char *name) const {
    json_t *found = json_object_get(value_, name);
    if (!json_is_string(found)) return wrong(name, "a string");
    return std::string(json_string_value(found), json_string_length(found));
}

Result<std::int64_t> Json::integer(const char *name) const {
    json_t *found = json_object_get(value_, name);
    if (!json_is_integer(found)) return wrong(name, "a number");
    return json_integer_value(found);
}

Result<std::uint64_t> Json::natural(const char *name) const {
    json_t *found = json_object_get(value_, name);
    if (!json_is_integer(found) || json_integer_value(found) < 0) return wrong(name, "a number");
    return static_cast<std::uint64_t>(json_integer_value(found));
}

Result<std::vector<std::uint64_t>> Json::column(const char *name) const {
    json_t *found = json_object_get(value_, name);
    if (!json_is_array(found)) return wrong(name, "an array of numbers");
    std::vector<std::uint64_t> column;
    column.reserve(json_array_size(found));
    std::size_t i;
    json_t *item;
    json_array_foreach(found, i, item) {
        if (!json_is_integer(item) || json_integer_value(item) < 0)
            return wrong(name, "an array of numbers");
        column.push_back(static_cast<std::uint64_t>(json_integer_value(item)));
    }
    return column;
}

Result<Json> Json::member(const char *name) const {
    json_t *found = json_object_get(value_, name);
    if (!found) return wrong(name, "a value");
    return Json(json_incref(found));
}

Result<Json> Json::list(const char *name) const {
    json_t *found = json_object_get(value_, name);
    if (!json_is_array(found)) return wrong(name, "an array");
    return Json(json_incref(found));
}

Result<std::vector<std::string>> Json::strings(const char *name) const {
    json_t *found = json_object_get(value_, name);
    if (!json_is_array(found)) return wrong(name, "an array of strings");
    std::vector<std::string> all;
    std::size_t i;
    json_t *item;
    json_array_foreach(found, i, item) {
        if (!json_is_string(item)) return wrong(name, "an array of strings");
        all.emplace_back(json_string_value(item), json_string_length(item));
    }
    return all;
}

std::vector<std::string> Json::names() const {
    std::vector<std::string> all;
    const char *name;
    json_t *item;
    json_object_foreach(value_, name, item) all.emplace_back(name);
    return all;
}

bool Json::has(const char *name) const { return json_object_get(value_, name) != nullptr; }

std::string Json::string_or(const char *name, std::string_view otherwise) const {
    auto found = string(name);
    return found ? std::move(*found) : std::string(otherwise);
}

std::int64_t Json::integer_or(const char *name, std::int64_t otherwise) const {
    return integer(name).value_or(otherwise);
}

std::size_t Json::size() const { return json_array_size(value_); }
Json Json::at(std::size_t i) const { return Json(json_incref(json_array_get(value_, i))); }

std::string Json::compact() const { return dumped(value_, JSON_COMPACT); }
std::string Json::indented() const { return dumped(value_, JSON_INDENT(2)); }

} // namespace dtask

// SPDX-License-Identifier: Apache-2.0
#include "lib/json/json.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include <jansson.h>

#include "lib/json/flat.h"

namespace dtask {

namespace {

tl::unexpected<Error> wrong(const char *name, const char *wanted) {
    return fail(std::string("\"") + name + "\" is missing or not " + wanted);
}

void dump(std::string &into, json_t *value, std::size_t flags) {
    std::unique_ptr<char, decltype(&std::free)> text(json_dumps(value, flags | JSON_ENCODE_ANY),
                                                     &std::free);
    if (text) into += text.get();
}

// jansson takes UTF-8 only; what is not, as a file name may be, is escaped.
std::string bent(std::string_view value) {
    if (!flat::plain(value)) {
        json_t *text = json_stringn(value.data(), value.size());
        json_decref(text);
        if (!text) {
            std::string ascii;
            for (char c : value) ascii += static_cast<unsigned char>(c) < 0x80 ? c : '?';
            return ascii;
        }
    }
    return std::string(value);
}

json_t *to_tree(std::int64_t number) { return json_integer(number); }
json_t *to_tree(const std::string &text) { return json_stringn(text.data(), text.size()); }
json_t *to_tree(const Json::Column &column) {
    json_t *array = json_array();
    for (auto n : column) json_array_append_new(array, json_integer(static_cast<json_int_t>(n)));
    return array;
}

void write(std::string &text, std::int64_t number) { flat::append(text, number); }
void write(std::string &text, const Json::Column &column) { flat::append(text, column); }
void write(std::string &text, const std::string &value) {
    if (flat::plain(value)) {
        text.append(1, '"').append(value).append(1, '"');
        return;
    }
    json_t *tree = to_tree(value);
    dump(text, tree, JSON_COMPACT);
    json_decref(tree);
}

Result<Json::Column> column_of(json_t *found, const char *name) {
    if (!json_is_array(found)) return wrong(name, "an array of numbers");
    Json::Column column;
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

} // namespace

Json::Tree::Tree(const Tree &other) : value_(json_incref(other.value_)) {}
Json::Tree::Tree(Tree &&other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
Json::Tree &Json::Tree::operator=(Tree other) noexcept {
    std::swap(value_, other.value_);
    return *this;
}
Json::Tree::~Tree() { json_decref(value_); }
json_t *Json::Tree::share() const { return json_incref(value_); }

Json Json::object() { return Json(nullptr); }
Json Json::array() { return Json(json_array()); }

Json Json::text(std::string_view value) { return Json(json_stringn(value.data(), value.size())); }

Result<Json> Json::parse(std::string_view text) {
    json_error_t error;
    auto members = flat::scan(text);
    Json object(nullptr);
    if (members) object.members_.reserve(members->size());
    for (std::size_t n = 0; members && n < members->size(); n++) {
        auto &[name, value] = (*members)[n];
        Member member{std::string(name), {}};
        if (auto *number = std::get_if<std::int64_t>(&value)) {
            member.value = *number;
        } else if (auto *string = std::get_if<std::string_view>(&value)) {
            member.value = std::string(*string);
        } else if (auto *column = std::get_if<Column>(&value)) {
            member.value = std::move(*column);
        } else {
            auto raw = std::get<flat::Raw>(value).text;
            Tree tree(json_loadb(raw.data(), raw.size(), JSON_REJECT_DUPLICATES | JSON_DECODE_ANY,
                                 &error));
            if (!tree.get()) {
                members.reset(); // its error has the place in the whole
                break;
            }
            member.value = std::move(tree);
        }
        object.members_.push_back(std::move(member));
    }
    if (members) return object;
    return parse_as_tree(text);
}

Result<Json> Json::parse_as_tree(std::string_view text) {
    json_error_t error;
    json_t *value = json_loadb(text.data(), text.size(), JSON_REJECT_DUPLICATES, &error);
    if (!value) return fail(std::string("not JSON: ") + error.text);
    return Json(value);
}

const Json::Member *Json::find(const char *name) const {
    auto found = std::ranges::find(members_, name, &Member::name);
    return found == members_.end() ? nullptr : &*found;
}

template <class T> const T *Json::ours(const char *name) const {
    const Member *member = find(name);
    return member ? std::get_if<T>(&member->value) : nullptr;
}

Json &Json::put(const char *name, decltype(Member::value) value) {
    if (tree_.get()) { // an object of the parser's
        const char *key;
        json_t *item;
        json_object_foreach(tree_.get(), key, item)
            members_.push_back({key, Tree(json_incref(item))});
        tree_ = Tree();
    }
    auto found = std::ranges::find(members_, name, &Member::name);
    if (found == members_.end())
        members_.push_back({name, std::move(value)});
    else
        found->value = std::move(value);
    return *this;
}

json_t *Json::tree_of(const char *name) const {
    if (tree_.get()) return json_incref(json_object_get(tree_.get(), name));
    const Member *member = find(name);
    if (!member) return nullptr;
    if (auto *tree = std::get_if<Tree>(&member->value)) return tree->share();
    if (auto *number = std::get_if<std::int64_t>(&member->value)) return to_tree(*number);
    if (auto *text = std::get_if<std::string>(&member->value)) return to_tree(*text);
    return to_tree(std::get<Column>(member->value));
}

json_t *Json::whole() const {
    if (tree_.get()) return tree_.share();
    json_t *object = json_object();
    for (const auto &member : members_)
        json_object_set_new(object, member.name.c_str(), tree_of(member.name.c_str()));
    return object;
}

Json &Json::set(const char *name, std::string_view value) { return put(name, bent(value)); }
Json &Json::set(const char *name, std::int64_t value) { return put(name, value); }
Json &Json::set(const char *name, double value) { return put(name, Tree(json_real(value))); }
Json &Json::set(const char *name, Column column) { return put(name, std::move(column)); }
// cppcheck-suppress passedByValue ; taken over, as a column is: its values are shared with no other
// NOLINTNEXTLINE(performance-unnecessary-value-param): the same
Json &Json::set(const char *name, Json value) { return put(name, Tree(value.whole())); }

// cppcheck-suppress passedByValue ; the same
// NOLINTNEXTLINE(performance-unnecessary-value-param): the same
Json &Json::append(Json value) {
    json_array_append_new(tree_.get(), value.whole());
    return *this;
}

Result<std::string> Json::string(const char *name) const {
    if (auto *text = ours<std::string>(name)) return *text;
    Tree found(tree_of(name));
    if (!json_is_string(found.get())) return wrong(name, "a string");
    return std::string(json_string_value(found.get()), json_string_length(found.get()));
}

Result<std::int64_t> Json::integer(const char *name) const {
    if (auto *number = ours<std::int64_t>(name)) return *number;
    Tree found(tree_of(name));
    if (!json_is_integer(found.get())) return wrong(name, "a number");
    return json_integer_value(found.get());
}

Result<std::uint64_t> Json::natural(const char *name) const {
    auto number = integer(name);
    if (!number || *number < 0) return wrong(name, "a number");
    return static_cast<std::uint64_t>(*number);
}

Result<Json::Column> Json::column(const char *name) const {
    if (auto *column = ours<Column>(name)) return *column;
    return column_of(Tree(tree_of(name)).get(), name);
}

Result<Json::Column> Json::take_column(const char *name) {
    auto found = std::ranges::find(members_, name, &Member::name);
    auto *ours = found == members_.end() ? nullptr : std::get_if<Column>(&found->value);
    if (!ours) return column(name);
    Column column = std::move(*ours);
    members_.erase(found);
    return column;
}

Result<Json> Json::member(const char *name) const {
    json_t *found = tree_of(name);
    if (!found) return wrong(name, "a value");
    return Json(found);
}

Result<Json> Json::list(const char *name) const {
    Tree found(tree_of(name));
    if (!json_is_array(found.get())) return wrong(name, "an array");
    return Json(found.share());
}

Result<std::vector<std::string>> Json::strings(const char *name) const {
    Tree found(tree_of(name));
    if (!json_is_array(found.get())) return wrong(name, "an array of strings");
    std::vector<std::string> all;
    std::size_t i;
    json_t *item;
    json_array_foreach(found.get(), i, item) {
        if (!json_is_string(item)) return wrong(name, "an array of strings");
        all.emplace_back(json_string_value(item), json_string_length(item));
    }
    return all;
}

std::vector<std::string> Json::names() const {
    std::vector<std::string> all;
    const char *name;
    json_t *item;
    for (const auto &member : members_) all.push_back(member.name);
    if (tree_.get()) json_object_foreach(tree_.get(), name, item) all.emplace_back(name);
    return all;
}

bool Json::has(const char *name) const {
    return tree_.get() ? json_object_get(tree_.get(), name) != nullptr : find(name) != nullptr;
}

std::string Json::string_or(const char *name, std::string_view otherwise) const {
    auto found = string(name);
    return found ? std::move(*found) : std::string(otherwise);
}

std::int64_t Json::integer_or(const char *name, std::int64_t otherwise) const {
    return integer(name).value_or(otherwise);
}

std::size_t Json::size() const { return json_array_size(tree_.get()); }
Json Json::at(std::size_t i) const { return Json(json_incref(json_array_get(tree_.get(), i))); }

std::string Json::compact() const {
    std::string text;
    if (tree_.get()) {
        dump(text, tree_.get(), JSON_COMPACT);
        return text;
    }
    for (const auto &member : members_) {
        text.append(text.empty() ? "{" : ",");
        write(text, member.name);
        text += ':';
        if (auto *tree = std::get_if<Tree>(&member.value))
            dump(text, tree->get(), JSON_COMPACT);
        else if (auto *number = std::get_if<std::int64_t>(&member.value))
            write(text, *number);
        else if (auto *value = std::get_if<std::string>(&member.value))
            write(text, *value);
        else
            write(text, std::get<Column>(member.value));
    }
    return text.empty() ? "{}" : text + '}';
}

std::string Json::indented() const {
    std::string text;
    Tree tree(whole());
    dump(text, tree.get(), JSON_INDENT(2));
    return text;
}

} // namespace dtask

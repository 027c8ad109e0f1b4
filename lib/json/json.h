// SPDX-License-Identifier: Apache-2.0
//
// Json: a JSON value; a copy of an object is one of its own. This folder is the only includer
// of <jansson.h>. Reading is strict: a member that is missing or of another
// type is an error that names it. Numbers are unsigned or signed 64-bit.
//
// Messages are objects of numbers, strings and columns: of such members no tree
// of jansson's is made, which costs several times what all else in the scheduler
// does (flat.h). An object is a list of members, of which the others are jansson's
// values; any other value, and an object that flat::scan does not take, is one
// value of jansson's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lib/base/result.h"

struct json_t;

namespace dtask {

class Json {
public:
    using Column = std::vector<std::uint64_t>;

    static Json object();
    static Json array();
    static Json text(std::string_view value);
    static Result<Json> parse(std::string_view text);
    /// The same by jansson alone, for tests: slower, and never anything else.
    static Result<Json> parse_as_tree(std::string_view text);

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
    Json &set(const char *name, Column column);
    Json &set(const char *name, Json value);
    Json &append(Json value);

    bool has(const char *name) const;
    Result<std::string> string(const char *name) const;
    Result<std::int64_t> integer(const char *name) const;
    /// A number ≥ 0.
    Result<std::uint64_t> natural(const char *name) const;
    /// An array of numbers ≥ 0.
    Result<Column> column(const char *name) const;
    /// The same, and the object has it no more.
    Result<Column> take_column(const char *name);
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
    /// A counted reference to a value of jansson's.
    class Tree {
    public:
        explicit Tree(json_t *owned = nullptr) : value_(owned) {}
        Tree(const Tree &other);
        Tree(Tree &&other) noexcept;
        Tree &operator=(Tree other) noexcept;
        ~Tree();
        json_t *get() const { return value_; }
        json_t *share() const; ///< one more reference, the caller's

    private:
        json_t *value_;
    };
    struct Member {
        std::string name;
        std::variant<std::int64_t, std::string, Column, Tree> value;
    };

    explicit Json(json_t *owned) : tree_(owned) {}
    const Member *find(const char *name) const;
    /// The member's value if it is a T of ours; else null.
    template <class T> const T *ours(const char *name) const;
    Json &put(const char *name, decltype(Member::value) value);
    json_t *tree_of(const char *name) const; ///< a reference of the caller's, or null
    json_t *whole() const;                   ///< the same, of all of it

    Tree tree_;                   ///< null: the members are
    std::vector<Member> members_; ///< of an object
};

} // namespace dtask

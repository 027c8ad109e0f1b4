// SPDX-License-Identifier: Apache-2.0
//
// Reader: reads members of one header and remembers the first that is wrong, so
// that a decoder is a list of members and one check at its end. For codec.cpp and state.cpp.
#pragma once

#include <string>
#include <string_view>

#include "lib/proto/frame.h"
#include "lib/proto/message.h"

namespace dtask::proto {

class Reader {
public:
    explicit Reader(const Json &header) : header_(header) {}
    /// Columns are taken out of the header instead of copied.
    explicit Reader(Json &header) : header_(header), own_(&header) {}

    void text(const char *name, std::string &into) { take(header_.string(name), into); }
    void natural(const char *name, std::uint64_t &into) { natural_of(header_, name, into); }
    void column(const char *name, Column &into) {
        take(column_of(name), into);
        if (error_.empty() && into.size() != rows(into))
            error_ = std::string("\"") + name + "\" is not as long as the other columns";
    }
    /// Lengths of the tasks' shares of the payload.
    void lengths(Column &into, std::string_view payload) {
        column("len", into);
        if (!error_.empty()) return;
        if (auto cut = slices(payload, into); !cut) error_ = cut.error().text();
    }
    /// Groups: how many of the rows of a column of its own, `flat`, belong to each task.
    void groups(const char *counts, Column &into, const char *flat, Column &rows) {
        column(counts, into);
        take(column_of(flat), rows);
        std::uint64_t left = rows.size();
        for (auto count : into) {
            if (count > left) return refuse(std::string("\"") + flat + "\" is too short");
            left -= count;
        }
        if (left > 0) refuse(std::string("\"") + flat + "\" is too long");
    }
    /// A column as long as `other`, one of groups.
    void beside(const char *name, Column &into, const Column &other) {
        take(column_of(name), into);
        if (into.size() != other.size())
            refuse(std::string("\"") + name + "\" is not as long as the inputs");
    }
    /// `resources`: amounts by name; may be missing.
    void resources(Resources &into);
    /// What `submit` and `graph` have in common, all of which may be missing.
    void terms(Terms &into);
    void refuse(std::string why) {
        if (error_.empty()) error_ = std::move(why);
    }

    template <class T> Result<T> done(T message) {
        if (!error_.empty()) return fail(error_);
        return message;
    }

private:
    Result<Column> column_of(const char *name) {
        return own_ ? own_->take_column(name) : header_.column(name);
    }
    void natural_of(const Json &object, const char *name, std::uint64_t &into) {
        take(object.natural(name), into);
    }
    template <class T> void take(Result<T> value, T &into) {
        if (!error_.empty()) return;
        if (value)
            into = std::move(*value);
        else
            error_ = value.error().text();
    }
    std::size_t rows(const Column &first) {
        if (!counted_) rows_ = first.size();
        counted_ = true;
        return rows_;
    }

    const Json &header_;
    Json *own_ = nullptr;
    std::string error_;
    bool counted_ = false;
    std::size_t rows_ = 0;
};

/// The members of a worker that `register` and `info` share.
void read_worker(Reader &in, Register &m);
Json about(const Register &m);

} // namespace dtask::proto

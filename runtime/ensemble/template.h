// SPDX-License-Identifier: Apache-2.0
//
// Template: the command of an ensemble, as it is given, and what becomes of it for each
// row of inputs. Pure. Placeholders are GNU parallel's:
//
//   {}    all of the row          {1}…  one value of it     {name}  a column
//   {.}   without its extension   {/}   its last part       {//}    its directory
//   {/.}  last part without extension                       {1.}, {name/}, … the same of one
//   {#}   number of the job       {%}   slot it runs in (model::slot_mark, put in there)
//
// What stands between braces and is none of these is left as it is. A command without a
// placeholder gets {} behind it; one that is empty is the row itself.
//
// No shell runs where none is needed. One argument is a command line, as for a shell; it
// goes to one only if it has what means something there. Several arguments are the
// program's own, whatever is in them, unless one is an operator ("|", ";", ">", …): then
// they are joined to a line for the shell, in which values are quoted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace dtask::ensemble {

struct Row {
    std::uint64_t number = 0; ///< from 1
    std::vector<std::string> values;
};

/// A text with placeholders.
class Text {
public:
    /// `columns` are the names that placeholders may use; `width` is how many values a row has,
    /// 0: not known.
    static Result<Text> parse(std::string_view text, const std::vector<std::string> &columns,
                              std::size_t width);
    std::string expand(const Row &row, bool quoted = false) const;
    bool uses_slot() const;
    /// Not one placeholder: the same for each row.
    bool constant() const;
    /// Is it what a shell would have to read? By its own text, not its values'.
    bool needs_shell() const;

private:
    enum class Part { text, whole, number, slot };
    struct Piece {
        Part part = Part::text;
        std::string text;        ///< of a Part::text
        std::int64_t value = 0;  ///< of the row: from 1, from the end below 0; 0: all of them
        std::string_view change; ///< "", ".", "/", "//", "/."
    };
    std::vector<Piece> pieces_;
};

class Template {
public:
    enum class Shell { if_needed, always, never };
    /// `shell`: the path of the one to use.
    static Result<Template> parse(const std::vector<std::string> &command,
                                  const std::vector<std::string> &columns, std::size_t width,
                                  Shell mode, std::string shell);
    std::vector<std::string> argv(const Row &row) const;
    /// For people, and for the job log.
    std::string line(const Row &row) const;
    bool uses_slot() const;
    /// The program's name, for messages.
    const std::string &name() const { return name_; }

private:
    std::vector<Text> words_; ///< of the program, or
    bool joined_ = false;     ///< one line for the shell,
    bool rows_ = false;       ///< or each row is a line of its own
    Shell mode_ = Shell::if_needed;
    std::string shell_, name_;
};

/// `text` as one word of a shell.
std::string quote(std::string_view text);

/// What GNU parallel makes of a value: "" as it is, ".", "/", "//", "/.".
std::string changed(std::string_view value, std::string_view change);

} // namespace dtask::ensemble

// SPDX-License-Identifier: Apache-2.0
//
// Inputs: the rows of an ensemble. Each source is a list of entries: words of the command
// line, lines of a file, or lines that are cut into columns. A row is one entry of each
// source, in all combinations, the last source the quickest; a source that is linked goes
// along with the one before it. Rows are made when they are asked for: only the sources
// are in memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "runtime/ensemble/template.h"

namespace dtask::ensemble {

struct Source {
    bool is_file = false;
    std::vector<std::string> entries; ///< or the name of the file, "-" for standard input
    bool linked = false;              ///< with the source before it
};

struct Cut {
    char end = '\n';            ///< of a line
    std::string separator = {}; ///< of columns; empty: a line is one value
    bool csv = false;           ///< lines are of RFC 4180
    bool header = false;        ///< the first line has the columns' names
    bool keep_empty = false;    ///< a line without anything is an entry too
};

/// The arguments from the first ":::", "::::", ":::+" or "::::+" on.
Result<std::vector<Source>> parse_sources(const std::vector<std::string> &arguments);

class Inputs {
public:
    /// Reads the files. `link_all`: all sources go along, the shorter ones from the start again.
    static Result<Inputs> read(const std::vector<Source> &sources, const Cut &cut,
                               bool link_all = false);
    std::uint64_t size() const { return size_; }
    /// `number` from 1.
    Row row(std::uint64_t number) const;
    const std::vector<std::string> &columns() const { return columns_; }
    /// Values that each row has; 0: rows differ.
    std::size_t width() const { return width_; }

private:
    using Entry = std::vector<std::string>;
    struct List {
        std::vector<Entry> entries;
        bool linked = false;
    };

    std::vector<List> lists_;
    std::vector<std::string> columns_;
    std::uint64_t size_ = 0;
    std::size_t width_ = 0;
    bool link_all_ = false;
};

/// The lines of a CSV text as values. An error says the line.
Result<std::vector<std::vector<std::string>>> parse_csv(std::string_view text);

} // namespace dtask::ensemble

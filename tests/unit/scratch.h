// SPDX-License-Identifier: Apache-2.0
//
// A directory of a test's own, removed with all that is in it.
#pragma once

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>

#include <stdlib.h>

#include <check.h>

namespace dtask::test {

class Scratch {
public:
    Scratch() {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "dtask-test-XXXXXX").string();
        ck_assert_msg(::mkdtemp(pattern.data()) != nullptr, "no scratch directory");
        path_ = pattern;
    }
    Scratch(const Scratch &) = delete;
    Scratch &operator=(const Scratch &) = delete;
    ~Scratch() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    std::string operator/(const std::string &name) const { return path_ + '/' + name; }
    const std::string &path() const { return path_; }
    std::set<std::string> names() const {
        std::set<std::string> all;
        for (const auto &entry : std::filesystem::directory_iterator(path_))
            all.insert(entry.path().filename().string());
        return all;
    }

private:
    std::string path_;
};

/// Writes a file anew.
inline void put(const std::string &path, std::string_view text) {
    std::ofstream(path, std::ios::trunc) << text;
}

} // namespace dtask::test

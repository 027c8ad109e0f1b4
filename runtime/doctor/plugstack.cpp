// SPDX-License-Identifier: Apache-2.0
#include "runtime/doctor/plugstack.h"

#include <filesystem>
#include <memory>

#include <glob.h>

#include "lib/base/fd.h"
#include "lib/base/strings.h"

namespace dtask::doctor {

namespace {

constexpr int deepest = 8; // a file that includes itself ends somewhere

std::vector<std::string> words_of(std::string_view line) {
    std::vector<std::string> words;
    for (std::size_t at = 0; at < line.size();) {
        auto begin = line.find_first_not_of(" \t", at);
        if (begin == line.npos) break;
        auto end = std::min(line.find_first_of(" \t", begin), line.size());
        words.emplace_back(line.substr(begin, end - begin));
        at = end;
    }
    return words;
}

std::vector<std::string> files_of(const std::string &pattern) {
    glob_t found{};
    std::unique_ptr<glob_t, decltype(&::globfree)> owner(&found, &::globfree);
    std::vector<std::string> files;
    if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
        files.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
    return files;
}

Result<void> read(Plugstack &stack, const std::string &path, const std::string &plugin_directory,
                  int depth) {
    auto text = read_file(path);
    if (!text) return fail_from(std::move(text));
    unsigned number = 0;
    for (auto line : split(*text, '\n')) {
        number++;
        auto words = words_of(line.substr(0, line.find('#')));
        if (words.size() < 2) continue;
        if (words[0] == "include" && depth < deepest) {
            auto pattern = words[1];
            if (!pattern.starts_with('/'))
                pattern = std::filesystem::path(path).parent_path() / pattern;
            auto files = files_of(pattern);
            if (files.empty()) stack.included.push_back(pattern);
            for (const auto &file : files)
                if (auto done = read(stack, file, plugin_directory, depth + 1); !done) return done;
            continue;
        }
        bool required = words[0] == "required";
        std::filesystem::path plugin(words[1]);
        if ((!required && words[0] != "optional") || plugin.filename() != "dtask.so") continue;
        if (plugin.is_relative()) plugin = plugin_directory / plugin;
        stack.lines.push_back({path, number, required, plugin, {words.begin() + 2, words.end()}});
    }
    return {};
}

} // namespace

Plugstack read_plugstack(const std::string &path, const std::string &plugin_directory) {
    Plugstack stack;
    stack.path = path;
    if (auto done = read(stack, path, plugin_directory, 0); !done)
        stack.unreadable = done.error().text();
    return stack;
}

Result<model::Site> site_of(const PluginLine &line, std::string_view launcher) {
    std::vector<const char *> words;
    for (const auto &word : line.words) words.push_back(word.c_str());
    return model::parse_site(words, launcher);
}

} // namespace dtask::doctor

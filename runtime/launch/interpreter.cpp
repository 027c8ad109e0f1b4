// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/interpreter.h"

#include <filesystem>
#include <optional>

#include <fcntl.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/spawn.h"
#include "lib/base/strings.h"

namespace dtask::launch {

namespace {

constexpr unsigned most_layers = 4;       // of env and #! lines around an interpreter
constexpr std::size_t longest_line = 256; // of #!, as the kernel takes it

using Words = std::vector<std::string>;

struct Invocation {
    std::string python;
    Words arguments; ///< Python's own
};

std::string base_name(const std::string &command) {
    return std::filesystem::path(command).filename().string();
}

Words words_of(std::string_view text) {
    Words words;
    for (auto word : split(text, ' '))
        if (word = trim(word); !word.empty()) words.emplace_back(word);
    return words;
}

// The command that `env ARGUMENTS` runs.
Words after_env(const Words &arguments) {
    std::size_t n = 0;
    for (; n < arguments.size(); n++) {
        const auto &word = arguments[n];
        if (word == "-S" || word == "--split-string") continue; // the words stand apart already
        if (word.starts_with("-S") || word.starts_with("--split-string=")) {
            auto inner = words_of(word.substr(word.find(word[1] == 'S' ? 'S' : '=') + 1));
            inner.insert(inner.end(), arguments.begin() + static_cast<std::ptrdiff_t>(n) + 1,
                         arguments.end());
            return inner;
        }
        if (word == "-u" || word == "-C" || word == "--unset" || word == "--chdir")
            n++;
        else if (!word.starts_with('-') && word.find('=') == std::string::npos)
            break;
    }
    if (n >= arguments.size()) return {};
    return {arguments.begin() + static_cast<std::ptrdiff_t>(n), arguments.end()};
}

// Interpreter and its one argument, which may be several words for `env -S`.
Words first_line(const std::string &path) {
    auto file = open_file(path, O_RDONLY | O_NOCTTY | O_NONBLOCK);
    if (!file) return {};
    std::string text(longest_line, '\0');
    ssize_t n = ::read(file->get(), text.data(), text.size());
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    if (!text.starts_with("#!")) return {};
    return words_of(std::string_view(text).substr(2, text.find('\n') - 2));
}

std::optional<Invocation> python_of(const Env &task, std::string command, Words arguments) {
    for (unsigned layer = 0; layer < most_layers; layer++) {
        if (base_name(command).starts_with("python")) return Invocation{command, arguments};
        Words inner;
        if (base_name(command) == "env") {
            inner = after_env(arguments);
        } else {
            auto path = find_program(command, task.get_or("PATH", ""));
            if (!path) return {};
            inner = first_line(*path);
            if (inner.empty()) return {};
            inner.push_back(*path);
            inner.insert(inner.end(), arguments.begin(), arguments.end());
        }
        if (inner.empty()) return {};
        command = inner.front();
        arguments.assign(inner.begin() + 1, inner.end());
    }
    return {};
}

} // namespace

std::string executor_python(const Env &task, const std::string &command,
                            const std::vector<std::string> &arguments) {
    if (auto chosen = task.get("DTASK_PYTHON"); chosen && !chosen->empty())
        return std::string(*chosen);
    auto invocation = python_of(task, command, arguments);
    return invocation ? invocation->python : "python3";
}

std::string script_directory(const Env &task, const std::string &command,
                             const std::vector<std::string> &given) {
    auto invocation = python_of(task, command, given);
    if (!invocation) return {};
    const auto &arguments = invocation->arguments;
    // As Python reads its own command line.
    std::size_t n = 0;
    for (; n < arguments.size(); n++) {
        const auto &argument = arguments[n];
        if (argument == "-") return {}; // standard input
        if (!argument.starts_with('-')) break;
        if (argument == "--") {
            n++;
            break;
        }
        if (argument.starts_with("--")) {
            if (argument == "--check-hash-based-pycs") n++;
            continue;
        }
        auto with_value = argument.find_first_of("cmWX", 1);
        if (with_value == std::string::npos) continue;
        if (argument[with_value] == 'c' || argument[with_value] == 'm') return {};
        if (with_value + 1 == argument.size()) n++; // the value stands by itself
    }
    if (n >= arguments.size()) return {};
    auto script = std::filesystem::absolute(arguments[n]).lexically_normal();
    std::error_code error;
    if (std::filesystem::is_directory(script, error)) return script.string(); // its __main__.py
    return script.parent_path().string();
}

} // namespace dtask::launch

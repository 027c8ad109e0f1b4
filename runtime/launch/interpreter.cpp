// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/interpreter.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>

#include <fcntl.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/strings.h"

namespace dtask::launch {

namespace {

constexpr unsigned most_layers = 4;       // of env and #! lines around an interpreter
constexpr std::size_t longest_line = 256; // of #!, as the kernel takes it

using Words = std::vector<std::string>;

constexpr char separator = '\x1f'; // of words in container_variable

struct Invocation {
    Words container; ///< the words in front of python
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

// Options of `apptainer exec` whose value is a word of its own.
constexpr std::array container_options{
    "-B",          "--bind",      "-H",         "--home",     "-o",        "--overlay",
    "-W",          "--workdir",   "-S",         "--scratch",  "--cwd",     "--pwd",
    "--mount",     "--env",       "--env-file", "--app",      "--network", "--network-args",
    "--pem-path",  "--fusemount", "--security", "--hostname", "--dns",     "--add-caps",
    "--drop-caps", "--no-mount",
};

// Which of the arguments begins the command that a container runs; 0 where this is none.
std::size_t in_container(const std::string &command, const Words &arguments) {
    auto name = base_name(command);
    auto begin = arguments.begin(), end = arguments.end();
    if (name == "ch-run") {
        auto mark = std::find(begin, end, "--");
        return mark == end ? 0 : static_cast<std::size_t>(mark - begin) + 1;
    }
    if (name != "apptainer" && name != "singularity") return 0;
    auto word = std::find_if(begin, end, [](const auto &w) { return !w.starts_with('-'); });
    if (word == end || *word != "exec") return 0;
    for (++word; word != end && word->starts_with('-'); ++word)
        if (std::ranges::find(container_options, *word) != container_options.end())
            if (++word == end) return 0;
    // The image, and what it runs.
    return end - word < 2 ? 0 : static_cast<std::size_t>(word - begin) + 1;
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
    Words container;
    for (unsigned layer = 0; layer < most_layers; layer++) {
        if (base_name(command).starts_with("python"))
            return Invocation{std::move(container), command, arguments};
        Words inner;
        if (base_name(command) == "env") {
            inner = after_env(arguments);
        } else if (auto n = static_cast<std::ptrdiff_t>(in_container(command, arguments)); n > 0) {
            container.push_back(command);
            container.insert(container.end(), arguments.begin(), arguments.begin() + n);
            inner.assign(arguments.begin() + n, arguments.end());
        } else {
            auto path = find_program(command, task.get_or("PATH", ""));
            if (!path) break;
            inner = first_line(*path);
            if (inner.empty()) break;
            inner.push_back(*path);
            inner.insert(inner.end(), arguments.begin(), arguments.end());
        }
        if (inner.empty()) break;
        command = inner.front();
        arguments.assign(inner.begin() + 1, inner.end());
    }
    if (container.empty()) return {};
    return Invocation{std::move(container), "python3", {}};
}

} // namespace

std::string executor_python(const Env &task, const std::string &command,
                            const std::vector<std::string> &arguments) {
    if (auto chosen = task.get("DTASK_PYTHON"); chosen && !chosen->empty())
        return std::string(*chosen);
    auto invocation = python_of(task, command, arguments);
    return invocation ? invocation->python : "python3";
}

std::vector<std::string> container_words(const Env &task, const std::string &command,
                                         const std::vector<std::string> &arguments) {
    if (auto chosen = task.get("DTASK_PYTHON"); chosen && !chosen->empty()) return {};
    auto invocation = python_of(task, command, arguments);
    return invocation ? std::move(invocation->container) : Words{};
}

Result<SpawnSpec> python_command(Env env, const std::vector<std::string> &module) {
    SpawnSpec spec;
    if (auto words = env.get_or(container_variable, ""); !words.empty())
        for (auto word : split(words, separator)) spec.argv.emplace_back(word);
    spec.argv.push_back(env.get_or("DTASK_PYTHON", "python3"));
    auto program = find_program(spec.argv.front(), env.get_or("PATH", ""));
    if (!program) return fail_from(std::move(program));
    spec.program = spec.argv.front() = std::move(*program);
    spec.argv.emplace_back("-m");
    spec.argv.insert(spec.argv.end(), module.begin(), module.end());
    env.unset(container_variable);
    spec.env = std::move(env);
    return spec;
}

std::string container_text(const std::vector<std::string> &words) {
    std::string text;
    for (const auto &word : words) {
        if (!text.empty()) text += separator;
        text += word;
    }
    return text;
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

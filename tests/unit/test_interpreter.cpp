// SPDX-License-Identifier: Apache-2.0
//
// Which Python and which script the user's command runs: by itself, behind env, from a first line,
// and in a container.
#include "tests/unit/unit.h"

#include <filesystem>

#include <unistd.h>

#include "lib/base/fd.h"
#include "runtime/launch/environment.h"
#include "runtime/launch/interpreter.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using namespace dtask::launch;
using dtask::test::must;

namespace {

START_TEST(test_interpreter) {
    Env env;
    ck_text_eq(executor_python(env, "python"), "python");
    ck_text_eq(executor_python(env, "/opt/conda/bin/python3.11"), "/opt/conda/bin/python3.11");
    ck_text_eq(executor_python(env, "bash"), "python3");
    ck_text_eq(executor_python(env, "/home/u/python/run.sh"), "python3");
    env.set("DTASK_PYTHON", "");
    ck_text_eq(executor_python(env, "bash"), "python3");
    env.set("DTASK_PYTHON", "/venv/bin/python");
    ck_text_eq(executor_python(env, "python"), "/venv/bin/python");
}
END_TEST

std::string joined(const std::vector<std::string> &words, char between) {
    std::string text;
    for (const auto &word : words) (text.empty() ? text : text += between) += word;
    return text;
}

// A container in front of Python is kept, and what runs in it seen through.
START_TEST(test_interpreter_in_a_container) {
    test::Scratch scratch;
    Env env;
    env.set("PATH", scratch.path());
    auto words = [&](const std::string &command, const std::vector<std::string> &arguments) {
        auto all = container_words(env, command, arguments);
        if (!all.empty()) all.push_back(executor_python(env, command, arguments));
        return joined(all, ' ');
    };
    ck_text_eq(words("apptainer", {"exec", "x.sif", "python3", "s.py"}),
               "apptainer exec x.sif python3");
    ck_text_eq(script_directory(env, "apptainer", {"exec", "x.sif", "python3", "-u", "/w/s.py"}),
               "/w");
    ck_text_eq(words("/opt/bin/singularity", {"-q", "exec", "-B", "/usr/lib/python3", "--nv",
                                              "docker://python:3.11", "/v/bin/python", "s.py"}),
               "/opt/bin/singularity -q exec -B /usr/lib/python3 --nv docker://python:3.11 "
               "/v/bin/python");
    ck_text_eq(words("ch-run", {"-w", "image", "--", "env", "A=1", "python3.9", "s.py"}),
               "ch-run -w image -- python3.9");
    // A script: as without a container, by its first line, or else `python3`.
    must(replace_file(scratch / "s", "#!/v/bin/python3 -u\n", 0700));
    ck_text_eq(words("apptainer", {"exec", "x.sif", "s"}), "apptainer exec x.sif /v/bin/python3");
    ck_text_eq(words("apptainer", {"exec", "x.sif", "only-there"}), "apptainer exec x.sif python3");
    for (const auto &other : std::vector<std::vector<std::string>>{
             {}, {"run", "x.sif", "python3"}, {"exec"}, {"exec", "x.sif"}, {"exec", "-B"}})
        ck_text_eq(words("apptainer", other), "");
    ck_text_eq(words("ch-run", {"image", "python3"}), "");
    ck_text_eq(words("time", {"python3", "s.py"}), "");

    // As a service starts it: the program as it was found, Python as it is called there.
    auto apptainer = scratch / "apptainer";
    must(replace_file(apptainer, "#!/bin/sh\n", 0700));
    auto of = container_words(env, "apptainer", {"exec", "a b.sif", "python3"});
    env.set(container_variable, container_text(of));
    auto spec = must(python_command(env, {"m", "x"}));
    ck_text_eq(spec.program, apptainer);
    ck_text_eq(joined(spec.argv, '|'), apptainer + "|exec|a b.sif|python3|-m|m|x");
    ck_assert(!spec.env.get(container_variable));
    env.set("DTASK_PYTHON", "/v/bin/python");
    ck_text_eq(words("apptainer", {"exec", "x.sif", "python3"}), "");
}
END_TEST

// Python behind `env` and behind the first line of a script.
START_TEST(test_interpreter_of_a_script) {
    test::Scratch scratch;
    Env env;
    env.set("PATH", scratch.path());
    auto script = [&](const char *name, const std::string &text) {
        must(replace_file(scratch / name, text, 0700));
        return scratch / name;
    };
    ck_text_eq(executor_python(env, "env", {"python", "s.py"}), "python");
    ck_text_eq(executor_python(env, "/usr/bin/env", {"-i", "A=1", "-u", "B", "/v/bin/python3"}),
               "/v/bin/python3");
    ck_text_eq(executor_python(env, "env", {"bash"}), "python3");
    ck_text_eq(executor_python(env, "env", {"-u"}), "python3");
    ck_text_eq(executor_python(env, script("direct", "#! /v/bin/python3 -u\n")), "/v/bin/python3");
    ck_text_eq(executor_python(env, script("by_env", "#!/usr/bin/env python\nx")), "python");
    ck_text_eq(executor_python(env, script("split", "#!/usr/bin/env -S python3.9 -u\n")),
               "python3.9");
    ck_text_eq(executor_python(env, "by_env"), "python"); // by PATH
    ck_text_eq(executor_python(env, script("shell", "#!/bin/sh\n")), "python3");
    ck_text_eq(executor_python(env, script("binary", "\x7f"
                                                     "ELF")),
               "python3");
    ck_text_eq(executor_python(env, script("empty", "")), "python3");
    ck_text_eq(executor_python(env, script("bare", "#!")), "python3");
    script("loop", "#!" + scratch.path() + "/loop\n");
    ck_text_eq(executor_python(env, scratch / "loop"), "python3");
    ck_text_eq(executor_python(env, "no-such-program"), "python3");
    // The script's directory, whatever stands before it.
    ck_text_eq(script_directory(env, scratch / "split", {"x"}), scratch.path());
    ck_text_eq(script_directory(env, "env", {"A=1", "python", "-u", "/s/run.py"}), "/s");
    ck_text_eq(script_directory(env, scratch / "shell", {}), "");
}
END_TEST

START_TEST(test_python_directory) {
    test::Scratch scratch;
    must(make_directories(scratch / "python/dtask", 0700));
    must(make_directories(scratch / "build", 0700));
    auto self = scratch / "build/dtaskd";
    ck_text_eq(python_directory(self), DTASK_PYTHON_DIR); // no package there yet
    must(replace_file(scratch / "python/dtask/__init__.py", "", 0600));
    ck_text_eq(python_directory(self), (scratch / "python").c_str());
    ck_text_eq(python_directory("/usr/libexec/dtask/dtaskd"), DTASK_PYTHON_DIR);
}
END_TEST

START_TEST(test_script_directory) {
    test::Scratch scratch;
    must(make_directories(scratch / "app", 0700));
    ck_assert_int_eq(::chdir(scratch.path().c_str()), 0);
    auto here = std::filesystem::current_path().string();
    struct {
        std::vector<std::string> arguments;
        std::string directory;
    } rows[]{
        {{"/home/u/run.py", "-c"}, "/home/u"},
        {{"run.py"}, here},
        {{"sub/run.py", "x"}, here + "/sub"},
        {{"-u", "-OO", "/s/run.py"}, "/s"},
        {{"-W", "ignore", "/s/run.py"}, "/s"},
        {{"-Wignore", "/s/run.py"}, "/s"},
        {{"-uW", "ignore", "-X", "dev", "/s/run.py"}, "/s"},
        {{"-Xdev", "/s/run.py"}, "/s"},
        {{"--check-hash-based-pycs", "always", "/s/run.py"}, "/s"},
        {{"--", "/s/run.py"}, "/s"},
        {{"app"}, here + "/app"},
        {{"-c", "print(1)", "/s/run.py"}, ""},
        {{"-cprint(1)", "/s/run.py"}, ""},
        {{"-Bc", "print(1)"}, ""},
        {{"-m", "pytest", "/s/t.py"}, ""},
        {{"-mpytest", "/s/t.py"}, ""},
        {{"-", "/s/data"}, ""},
        {{"-i"}, ""},
        {{"-W"}, ""},
        {{"--"}, ""},
        {{}, ""},
    };
    for (auto &row : rows) {
        std::string shown;
        for (auto &a : row.arguments) shown += a + ' ';
        auto found = script_directory({}, "python3", row.arguments);
        ck_assert_msg(found == row.directory, "%s: %s", shown.c_str(), found.c_str());
    }
    ck_text_eq(script_directory({}, "bash", {"/home/u/run.sh"}), "");
}
END_TEST

Suite *suite() {
    auto s = suite_create("interpreter");
    auto c = tcase_create("interpreter");
    tcase_set_timeout(c, 20);
    for (auto test : {test_interpreter, test_interpreter_in_a_container,
                      test_interpreter_of_a_script, test_python_directory, test_script_directory})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

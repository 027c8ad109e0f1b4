// SPDX-License-Identifier: Apache-2.0
//
// How dtask doctor learns what it judges: Slurm's, munge's and Python's commands are scripts here
// that say what a test has them say.
#include "tests/unit/unit.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "runtime/doctor/gather.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using namespace dtask::doctor;
using dtask::test::must;

namespace {

/// A host whose commands are in `bin`.
struct Host {
    Host() {
        std::filesystem::create_directory(bin);
        env.set("PATH", bin + ":/usr/bin:/bin");
        env.set("DTASK_PYTHON", bin + "/python");
        env.set("TMPDIR", scratch.path());
        env.set("SLURM_CONF", scratch / "slurm.conf");
        script("scontrol", "case $1 in --version) echo slurm 22.05.8;; *) cat " +
                               (scratch / "config") + ";; esac");
        configure("");
        script("srun", "echo '      --dtask[=ENGINE]   help'");
        script("munge", "echo credential $*");
        script("unmunge", "exec grep -q credential");
        script("python", R"(echo '{"major":3,"minor":11,"dtask":"0.1.0","cloudpickle":"2.2",)"
                         R"("distributed":""}')");
    }
    void script(const char *name, const std::string &lines) {
        auto path = bin + '/' + name;
        std::ofstream(path) << "#!/bin/sh\n" << lines << '\n';
        ck_assert_int_eq(::chmod(path.c_str(), 0700), 0);
    }
    void configure(const std::string &lines) const {
        std::ofstream(scratch / "config") << "Configuration data as of 2026\n"
                                             "AuthType                = auth/munge\n"
                                             "PluginDir               = "
                                          << scratch.path()
                                          << "\nSlurmd debug name = skipped\n"
                                             "KillWait                = 30 sec\n"
                                          << lines;
    }

    test::Scratch scratch;
    std::string bin = scratch / "bin";
    Env env;
};

START_TEST(test_a_host) {
    Host host;
    auto plugin = host.scratch / "dtask.so", launcher = host.scratch / "dtaskd";
    std::ofstream(plugin) << "no ELF";
    std::ofstream(launcher) << "#!/bin/sh\necho dtaskd 9.8.7\n";
    ::chmod(launcher.c_str(), 0755);
    std::ofstream(host.scratch / "plugstack.conf")
        << "optional dtask.so launcher=" << launcher << " ports=20001-20009\n";
    auto facts = gather(host.env);
    ck_text_eq(facts.slurm, "22.05.8");
    ck_text_eq(facts.no_slurm + facts.no_config + facts.no_srun + facts.munge_failure, "");
    ck_text_eq(facts.config.at("KillWait"), "30 sec");
    ck_text_eq(facts.config.at("AuthType"), "auth/munge");
    ck_assert_uint_eq(facts.config.size(), 3); // what is no single word is no key
    ck_contains(facts.srun_help, "--dtask[=ENGINE]");
    // Beside slurm.conf, and the plugin where Slurm looks for it.
    ck_text_eq(facts.plugstack.path, host.scratch / "plugstack.conf");
    ck_assert_uint_eq(facts.plugstack.lines.size(), 1);
    ck_assert(facts.plugin && facts.plugin->missing.empty());
    ck_contains(facts.plugin_broken, "no plugin");
    ck_assert(facts.launcher && facts.launcher->missing.empty());
    ck_text_eq(facts.launcher_version, "9.8.7");
    ck_text_eq(facts.scratch.path, host.scratch.path());
    ck_assert_uint_gt(facts.first_ephemeral, 0);
    ck_assert_uint_lt(facts.first_ephemeral, facts.last_ephemeral);
    ck_assert_uint_gt(facts.descriptors, 0);
    ck_text_eq(facts.python.failure, "");
    ck_assert_uint_eq(facts.python.major, 3);
    ck_assert_uint_eq(facts.python.minor, 11);
    ck_text_eq(facts.python.dtask + ' ' + facts.python.cloudpickle, "0.1.0 2.2");
    ck_assert(std::ranges::any_of(facts.interfaces, &Interface::loopback));
    ck_assert(facts.root == (::geteuid() == 0));
}
END_TEST

START_TEST(test_where_slurm_says_that_its_plugins_are) {
    Host host;
    host.configure("PlugStackConfig = " + (host.scratch / "elsewhere") + '\n');
    std::ofstream(host.scratch / "elsewhere") << "required /nowhere/dtask.so\n";
    auto facts = gather(host.env);
    ck_text_eq(facts.plugstack.path, host.scratch / "elsewhere");
    ck_assert(facts.plugstack.lines.size() == 1 && facts.plugstack.lines[0].required);
    ck_contains(facts.plugin->missing, "No such file");
    ck_text_eq(facts.plugin_broken + facts.plugin_slurm, "");
    // No line at all: nothing is looked at.
    std::ofstream(host.scratch / "elsewhere") << "# none\n";
    facts = gather(host.env);
    ck_assert(!facts.plugin && !facts.launcher && facts.plugstack.unreadable.empty());
}
END_TEST

START_TEST(test_what_cannot_be_asked) {
    Host host;
    host.script("srun", "echo 'srun: broken' >&2; exit 1");
    host.script("unmunge", "echo 'unmunge: Expired credential' >&2; exit 15");
    host.script("python", "echo nonsense");
    auto facts = gather(host.env);
    ck_text_eq(facts.no_srun, "srun: broken");
    ck_text_eq(facts.munge_failure, "unmunge: Expired credential");
    ck_contains(facts.python.failure, "/python says what nobody expects: nonsense");

    host.script("python", "exit 4");
    ck_contains(gather(host.env).python.failure, "/python: exit code 4");

    host.script("scontrol", "[ $1 = --version ] && echo slurm 23.11.1 || "
                            "{ echo 'Unable to contact slurm controller' >&2; exit 1; }");
    facts = gather(host.env);
    ck_text_eq(facts.no_config, "Unable to contact slurm controller");
    ck_text_eq(facts.plugstack.path, host.scratch / "plugstack.conf");

    host.script("scontrol", "exit 1");
    facts = gather(host.env);
    ck_text_eq(facts.no_slurm, "scontrol: exit code 1");
    ck_text_eq(facts.slurm + facts.plugstack.path, "");
}
END_TEST

// Clusters have a munge of their own, or another way.
START_TEST(test_munge) {
    Host host;
    host.script("unmunge", "exec grep -qx 'credential -n -S /run/other'");
    host.configure("AuthInfo = ttl=9,socket=/run/other\n");
    ck_text_eq(gather(host.env).munge_failure, "");
    host.configure("AuthInfo = ttl=9\n");
    ck_contains(gather(host.env).munge_failure, "exit code 1");
    std::ofstream(host.scratch / "config") << "AuthType = auth/slurm\n";
    ck_text_eq(gather(host.env).munge_failure, "");
}
END_TEST

} // namespace

int main() {
    Suite *suite = suite_create("gather");
    TCase *cases = tcase_create("gather");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, test_a_host);
    tcase_add_test(cases, test_where_slurm_says_that_its_plugins_are);
    tcase_add_test(cases, test_what_cannot_be_asked);
    tcase_add_test(cases, test_munge);
    suite_add_tcase(suite, cases);
    return test::run(suite);
}

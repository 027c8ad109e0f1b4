// SPDX-License-Identifier: Apache-2.0
//
// The rules of dtask doctor: a host on which all is well, and what is said where one thing
// after the other is not.
#include "tests/unit/unit.h"

#include <algorithm>
#include <filesystem>
#include <functional>

#include <sys/stat.h>

#include "lib/base/ask.h"
#include "lib/base/fd.h"
#include "runtime/cli/doctor.h"
#include "runtime/doctor/host.h"
#include "runtime/doctor/plugstack.h"
#include "runtime/doctor/rules.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using namespace dtask::doctor;
using dtask::test::error_of;
using dtask::test::must;

namespace {

Facts healthy() {
    Facts facts;
    facts.version = "0.1.0";
    facts.host = "node1";
    facts.slurm = "22.05.8";
    facts.config = {{"TaskPlugin", "task/affinity,task/cgroup"},
                    {"ProctrackType", "proctrack/cgroup"},
                    {"ConstrainRAMSpace", "yes"},
                    {"ConstrainSwapSpace", "no"},
                    {"CgroupPlugin", "autodetect"},
                    {"SelectTypeParameters", "CR_CORE_MEMORY"},
                    {"DefMemPerCPU", "250"},
                    {"JobAcctGatherParams", "(null)"},
                    {"KillWait", "30 sec"}};
    facts.srun_help = "      --dtask[=ENGINE]   turn the step into a task cluster";
    facts.plugstack.path = "/etc/slurm/plugstack.conf";
    facts.plugstack.lines = {
        {"/etc/slurm/plugstack.conf", 3, false, "/usr/lib/dtask/dtask.so", {}}};
    facts.plugin = FileFact{"/usr/lib/dtask/dtask.so", "", 0, 0100644, ""};
    facts.plugin_slurm = "22.05";
    facts.launcher = FileFact{"/usr/libexec/dtask/dtaskd", "", 0, 0100755, ""};
    facts.launcher_version = "0.1.0";
    facts.cgroup_version = 2;
    facts.controllers = {"cpu", "memory"};
    facts.interfaces = {{"lo", true, true, {"127.0.0.1"}}, {"eth0", true, false, {"10.0.0.1"}}};
    facts.first_ephemeral = 32768;
    facts.last_ephemeral = 60999;
    facts.scratch = {"/tmp", "", 100ull << 30, 200ull << 30, ""};
    facts.shared_memory = {"/dev/shm", "", 1 << 30, 1 << 30, "tmpfs"};
    facts.descriptors = 1 << 20;
    facts.python = {"/usr/bin/python3", "", 3, 11, "", "2.2", "2022.12"};
    return facts;
}

std::vector<Finding> bad(const Facts &facts) {
    auto findings = judge(facts);
    std::erase_if(findings, [](const Finding &f) { return f.verdict == Verdict::good; });
    return findings;
}

START_TEST(test_a_healthy_host) {
    auto facts = healthy();
    ck_assert(bad(facts).empty());
    auto findings = judge(facts);
    ck_assert_int_eq(cli::exit_code_of(findings), 0);
    ck_contains(cli::table(facts, findings), "0 errors, 0 warnings\n");
    // What nobody can know is no fault.
    facts.first_ephemeral = facts.last_ephemeral = 0;
    facts.descriptors = 0;
    ck_assert(bad(facts).empty());
}
END_TEST

struct Case {
    std::function<void(Facts &)> breaks;
    Verdict verdict;
    const char *subject, *text, *mend;
};

const Case cases[] = {
    {[](Facts &f) { f.slurm.clear(), f.no_slurm = "scontrol: not found"; }, Verdict::error, "slurm",
     "scontrol: not found", "in PATH"},
    {[](Facts &f) { f.no_config = "Unable to contact slurm controller"; }, Verdict::error, "slurm",
     "Unable to contact", "start slurmctld"},
    {[](Facts &f) { f.plugstack.unreadable = "No such file or directory"; }, Verdict::error,
     "plugstack", "/etc/slurm/plugstack.conf: No such file", "optional /"},
    {[](Facts &f) { f.plugstack.lines.clear(); }, Verdict::error, "plugstack",
     "does not load dtask", "add to it"},
    {[](Facts &f) { f.plugstack.lines.push_back(f.plugstack.lines[0]); }, Verdict::error,
     "plugstack", "does so again", "keep one"},
    {[](Facts &f) { f.plugstack.lines[0].words = {"memry=2G"}; }, Verdict::error, "plugstack",
     "memry=2G: no such key", "correct that word"},
    {[](Facts &f) { f.plugstack.lines[0].words = {"ports=9-1"}; }, Verdict::error, "plugstack",
     "ports=9-1: not a range", "correct that word"},
    {[](Facts &f) { f.plugstack.included = {"/etc/slurm/x.d/*"}; }, Verdict::note, "plugstack",
     "matches no file", ""},
    {[](Facts &f) { f.plugin->missing = "No such file or directory"; }, Verdict::error, "plugin",
     "/usr/lib/dtask/dtask.so: No such file", "install dtask"},
    {[](Facts &f) { f.plugin->owner = 1000; }, Verdict::error, "plugin", "belongs to user 1000",
     "chown root"},
    {[](Facts &f) { f.plugin->mode |= 0020; }, Verdict::error, "plugin", "written by others",
     "chmod go-w"},
    {[](Facts &f) { f.plugin->loose_directory = "/usr/lib/dtask"; }, Verdict::error, "plugin",
     "can be replaced", "chmod go-w /usr/lib/dtask"},
    {[](Facts &f) { f.plugin_broken = "it is no SPANK plugin"; }, Verdict::error, "plugin",
     "cannot be loaded", "build it again"},
    {[](Facts &f) { f.plugin_slurm = "23.11"; }, Verdict::error, "plugin",
     "built for Slurm 23.11, and this is 22.05.8", "--with-slurm"},
    {[](Facts &f) { f.srun_help = "--ntasks"; }, Verdict::error, "plugin", "does not know --dtask",
     "srun -vv"},
    {[](Facts &f) { f.launcher->missing = "No such file or directory"; }, Verdict::error,
     "launcher", "dtaskd: No such file", "install dtask"},
    {[](Facts &f) { f.launcher->mode = 0100700; }, Verdict::error, "launcher",
     "cannot be executed by all", "chmod a+rx"},
    {[](Facts &f) { f.launcher->owner = 12; }, Verdict::error, "launcher", "belongs to user 12",
     "chown root"},
    {[](Facts &f) { f.launcher_version = "0.0.9"; }, Verdict::error, "launcher",
     "is dtask 0.0.9, and this command is 0.1.0", "same version"},
    {[](Facts &f) { f.config["TaskPlugin"] = "task/none"; }, Verdict::warning, "slurm.conf",
     "TaskPlugin=task/none", "task/cgroup"},
    {[](Facts &f) { f.config["ProctrackType"] = "proctrack/linuxproc"; }, Verdict::warning,
     "slurm.conf", "ProctrackType=proctrack/linuxproc", "proctrack/cgroup"},
    {[](Facts &f) { f.config["ConstrainRAMSpace"] = "no"; }, Verdict::warning, "slurm.conf",
     "ConstrainRAMSpace=no", "cgroup.conf"},
    {[](Facts &f) { f.swap = true; }, Verdict::note, "slurm.conf", "ConstrainSwapSpace=no",
     "cgroup.conf"},
    {[](Facts &f) { f.config["CgroupPlugin"] = "cgroup/v1"; }, Verdict::error, "slurm.conf",
     "CgroupPlugin=cgroup/v1, and this host has cgroup v2", "autodetect"},
    {[](Facts &f) { f.config["SelectTypeParameters"] = "CR_CORE"; }, Verdict::warning, "slurm.conf",
     "no memory of their own", "CR_Core_Memory"},
    {[](Facts &f) { f.config["DefMemPerCPU"] = "UNLIMITED"; }, Verdict::note, "slurm.conf",
     "DefMemPerCPU", "--mem-per-cpu"},
    {[](Facts &f) { f.config["JobAcctGatherParams"] = "OverMemoryKill"; }, Verdict::error,
     "slurm.conf", "OverMemoryKill", "take OverMemoryKill away"},
    {[](Facts &f) { f.config["KillWait"] = "2 sec"; }, Verdict::warning, "slurm.conf", "KillWait=2",
     "KillWait=30"},
    {[](Facts &f) { f.cgroup_version = 0, f.no_cgroup = "not mounted"; }, Verdict::warning,
     "cgroup", "no cgroups: not mounted", "mount"},
    {[](Facts &f) { f.controllers = {"cpu"}; }, Verdict::warning, "cgroup",
     "without the memory controller", "+memory"},
    {[](Facts &f) { f.controllers = {"memory"}; }, Verdict::warning, "cgroup",
     "without the cpu controller", "+cpu"},
    {[](Facts &f) { f.cgroup_version = 1, f.hierarchy = false; }, Verdict::warning, "cgroup",
     "use_hierarchy is 0", "echo 1"},
    {[](Facts &f) {
         f.swap = true, f.swap_limited = false, f.config["ConstrainSwapSpace"] = "yes";
     },
     Verdict::warning, "cgroup", "swap is not counted", "swapaccount=1"},
    {[](Facts &f) { f.munge_failure = "munge: Failed to access socket"; }, Verdict::error, "munge",
     "Failed to access", "start munged"},
    {[](Facts &f) { f.interfaces.pop_back(); }, Verdict::warning, "network",
     "no interface but loopback", "over several nodes"},
    {[](Facts &f) { f.plugstack.lines[0].words = {"interface=ib0"}; }, Verdict::error, "network",
     "interface ib0, which this host has not", "correct interface="},
    {[](Facts &f) {
         f.plugstack.lines[0].words = {"interface=eth0"};
         f.interfaces[1].up = false;
         f.interfaces.push_back({"eth1", true, false, {"10.1.0.1"}});
     },
     Verdict::error, "network", "interface eth0 is down", "bring it up"},
    {[](Facts &f) { f.plugstack.lines[0].words = {"ports=20000-20007"}; }, Verdict::warning,
     "network", "are 8", "wider range"},
    {[](Facts &f) { f.busy_ports = 10'000; }, Verdict::error, "network", "are taken here",
     "a free range"},
    {[](Facts &f) { f.plugstack.lines[0].words = {"ports=40000-41000"}; }, Verdict::note, "network",
     "overlap", "below them"},
    {[](Facts &f) { f.scratch.unusable = "Permission denied"; }, Verdict::error, "scratch",
     "/tmp: Permission denied", "scratch="},
    {[](Facts &f) { f.scratch.filesystem = "lustre"; }, Verdict::warning, "scratch", "is on lustre",
     "scratch="},
    {[](Facts &f) { f.scratch.filesystem = "tmpfs"; }, Verdict::note, "scratch", "is in memory",
     "scratch="},
    {[](Facts &f) { f.scratch.free = 5 << 20; }, Verdict::warning, "scratch", "has 5M free",
     "make room"},
    {[](Facts &f) { f.shared_memory.unusable = "No such file or directory"; }, Verdict::warning,
     "scratch", "/dev/shm: No such file", "mount a tmpfs"},
    {[](Facts &f) { f.descriptors = 1024; }, Verdict::warning, "limits", "at most 1024", "nofile"},
    {[](Facts &f) { f.python.failure = "python3: not found"; }, Verdict::warning, "python",
     "python3: not found", "Python 3.8"},
    {[](Facts &f) { f.python.minor = 6; }, Verdict::error, "python", "is Python 3.6", "Python 3.8"},
    {[](Facts &f) { f.python.dtask = "0.0.9"; }, Verdict::error, "python", "imports dtask 0.0.9",
     "same version"},
    {[](Facts &f) { f.python.cloudpickle.clear(); }, Verdict::warning, "python",
     "has no cloudpickle", "pip install cloudpickle"},
    {[](Facts &f) { f.python.distributed.clear(); }, Verdict::note, "python",
     "has no dask.distributed", ""},
};

// Each says one thing, of the right weight, and how to mend it.
START_TEST(test_a_broken_host) {
    const Case &broken = cases[_i];
    auto facts = healthy();
    broken.breaks(facts);
    auto found = bad(facts);
    ck_assert_msg(found.size() == 1, "%zu findings for %s:\n%s", found.size(), broken.text,
                  cli::table(facts, found).c_str());
    const auto &finding = found.front();
    ck_contains(finding.text, broken.text);
    ck_text_eq(finding.subject, broken.subject);
    ck_contains(finding.mend, broken.mend);
    ck_text_eq(std::string(name_of(finding.verdict)), std::string(name_of(broken.verdict)));
    ck_assert_int_eq(cli::exit_code_of(found), broken.verdict == Verdict::error);
    ck_assert(finding.text.find('\n') == std::string::npos);
    ck_contains(cli::json(facts, found), "\"verdict\": \"");
}
END_TEST

START_TEST(test_plugstack) {
    test::Scratch scratch;
    must(make_directories(scratch / "d", 0700));
    must(replace_file(scratch / "plugstack.conf",
                      "# optional /x/dtask.so\n"
                      "optional other.so a=b\n"
                      "include d/*.conf\n"
                      "include none/*.conf\n"
                      "required dtask.so  memory=2G\tslots=overlap # why\n",
                      0600));
    must(replace_file(scratch / "d/dtask.conf", "optional /opt/dtask.so\n", 0600));
    must(replace_file(scratch / "d/loop.conf", "include loop.conf\n", 0600));
    auto stack = read_plugstack(scratch / "plugstack.conf", "/usr/lib/slurm");
    ck_text_eq(stack.unreadable, "");
    ck_assert_uint_eq(stack.lines.size(), 2);
    ck_text_eq(stack.lines[0].plugin, "/opt/dtask.so");
    ck_text_eq(stack.lines[0].file, (scratch / "d/dtask.conf"));
    ck_assert(!stack.lines[0].required);
    ck_text_eq(stack.lines[1].plugin, "/usr/lib/slurm/dtask.so");
    ck_assert_uint_eq(stack.lines[1].line, 5);
    ck_assert(stack.lines[1].required);
    ck_assert_uint_eq(stack.lines[1].words.size(), 2);
    ck_text_eq(stack.lines[1].words[1], "slots=overlap");
    ck_assert_uint_eq(stack.included.size(), 1);
    ck_contains(read_plugstack(scratch / "no", "").unreadable, "No such file");
}
END_TEST

START_TEST(test_ask) {
    auto env = Env::current();
    ck_text_eq(must(ask({"sh", "-c", "echo out; echo err >&2"}, env)), "out\n");
    ck_text_eq(error_of(ask({"sh", "-c", "echo one >&2; echo two >&2; exit 3"}, env)), "two");
    ck_text_eq(error_of(ask({"sh", "-c", "exit 3"}, env)), "sh: exit code 3");
    ck_contains(error_of(ask({"no-such-program"}, env)), "no-such-program");
    ck_contains(error_of(ask({"sh", "-c", "sleep 1000 & wait"}, env, 200)), "has not ended");
}
END_TEST

START_TEST(test_files_and_directories) {
    test::Scratch scratch;
    must(replace_file(scratch / "plain", "no ELF", 0644));
    auto file = look_at_file(scratch / "plain");
    ck_text_eq(file.missing, "");
    ck_assert_uint_eq(file.mode & 0777, 0644);
    ck_contains(look_at_file(scratch / "no").missing, "No such file");
    ck_contains(look_at_file(scratch.path()).missing, "no file");
    ck_assert_int_eq(::chmod(scratch.path().c_str(), 0777), 0);
    ck_text_eq(look_at_file(scratch / "plain").loose_directory,
               std::filesystem::canonical(scratch.path()).string());
    ck_contains(error_of(slurm_of_plugin(scratch / "plain")), "no plugin");
    ck_contains(error_of(slurm_of_plugin("/proc/self/exe")), "no SPANK plugin");
    auto directory = look_at_directory(scratch.path());
    ck_text_eq(directory.unusable, "");
    ck_assert_uint_gt(directory.size, 0);
    ck_contains(look_at_directory(scratch / "no").unusable, "No such file");
    ck_contains(look_at_directory("/proc").unusable, "");
}
END_TEST

// Whatever a file says, nothing outside of it is read.
START_TEST(test_damaged_plugins) {
    test::Scratch scratch;
    auto whole = must(read_file("/proc/self/exe", 256 << 20));
    for (std::size_t size : {0u, 4u, 63u, 64u, 4096u}) {
        must(replace_file(scratch / "cut", whole.substr(0, size), 0600));
        ck_assert(!slurm_of_plugin(scratch / "cut"));
    }
    for (std::size_t at = 16; at < 64; at++) {
        auto damaged = whole.substr(0, 1 << 16);
        damaged[at] = '\xff';
        must(replace_file(scratch / "damaged", damaged, 0600));
        ck_assert(!slurm_of_plugin(scratch / "damaged"));
    }
}
END_TEST

Suite *suite() {
    auto s = suite_create("doctor");
    auto c = tcase_create("doctor");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, test_a_healthy_host);
    tcase_add_loop_test(c, test_a_broken_host, 0, static_cast<int>(std::size(cases)));
    tcase_add_test(c, test_plugstack);
    tcase_add_test(c, test_ask);
    tcase_add_test(c, test_files_and_directories);
    tcase_add_test(c, test_damaged_plugins);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

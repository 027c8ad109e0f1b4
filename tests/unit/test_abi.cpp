// SPDX-License-Identifier: Apache-2.0
//
// The plugin by its C ABI, as Slurm's programs call it: what each hook returns, what it prints, and
// with which code srun ends. tests/inject has the same while system calls fail.
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "tests/unit/unit.h"

#include <algorithm>
#include <cstdlib>

#include <unistd.h>

#include "lib/base/env.h"
#include "lib/model/options.h"
#include "spank/handover.h"
#include "tests/fakes/spank.h"

using namespace dtask;

extern "C" {
extern const char plugin_name[];
extern const char plugin_type[];
extern const unsigned int plugin_version;
int slurm_spank_init(spank_t, int, char **);
int slurm_spank_init_post_opt(spank_t, int, char **);
int slurm_spank_local_user_init(spank_t, int, char **);
int slurm_spank_task_post_fork(spank_t, int, char **);
int slurm_spank_task_init(spank_t, int, char **);
int slurm_spank_task_exit(spank_t, int, char **);
int slurm_spank_exit(spank_t, int, char **);
int slurm_spank_job_epilog(spank_t, int, char **);
}

namespace {

fake::Slurm &slurm() { return fake::slurm; }

/// Words of plugstack.conf as Slurm hands them over; there are no cgroups.
struct Words {
    explicit Words(const char *more = nullptr) {
        if (more) all.push_back(const_cast<char *>(more));
    }
    int count() const { return static_cast<int>(all.size()); }

    std::string launcher = "launcher=/bin/true", root = "cgroup_root=/nonexistent";
    std::vector<char *> all{launcher.data(), root.data()};
};

int call(int (*hook)(spank_t, int, char **), Words &words) {
    return hook(slurm().handle(), words.count(), words.all.data());
}

void begin(spank_context_t context, Words &words) {
    slurm() = fake::Slurm{};
    slurm().context = context;
    ck_assert_int_eq(call(slurm_spank_init, words), 0);
}

/// As the user gives an option; `remote`: as slurmstepd reads it.
void give(const char *name, const char *argument, int remote = 0) {
    auto option = std::ranges::find(slurm().options, std::string_view(name), &spank_option::name);
    ck_assert(option != slurm().options.end());
    ck_assert_int_eq(option->cb(option->val, argument, remote), 0);
}

START_TEST(test_what_slurm_looks_for) {
    ck_text_eq(plugin_name, "dtask");
    ck_text_eq(plugin_type, "spank");
    ck_assert_uint_eq(plugin_version, SLURM_VERSION_NUMBER);
}
END_TEST

START_TEST(test_srun) {
    Words words;
    begin(S_CTX_LOCAL, words);
    ck_assert_uint_eq(slurm().options.size(), model::option_table().size());
    give("dtask", nullptr);
    give("dtask-slots", "overlap");
    slurm().step_nodes = "n[1-2]";
    slurm().node_address = "192.0.2.1";
    ck_assert_int_eq(call(slurm_spank_init_post_opt, words), 0);
    ck_assert_int_eq(call(slurm_spank_local_user_init, words), 0);
    auto env = Env::current();
    ck_contains(env.get_or(spank::options_variable, ""), "slots=overlap");
    ck_assert_uint_eq(env.get_or(spank::token_variable, "").size(), 64);
    ck_assert(slurm().errors.empty());
    // What concerns tasks is slurmstepd's.
    ck_assert_int_eq(call(slurm_spank_task_post_fork, words), 0);
    ck_assert_int_eq(call(slurm_spank_task_init, words), 0);
    ck_assert_int_eq(call(slurm_spank_task_exit, words), 0);
    ck_assert_int_eq(call(slurm_spank_exit, words), 0);
}
END_TEST

// srun ends with the code of its own errors, 1 unless the user has chosen another.
void refused_option() {
    Words words;
    begin(S_CTX_LOCAL, words);
    give("dtask", nullptr);
    give("dtask-slots", "sideways");
    call(slurm_spank_init_post_opt, words);
    ck_abort_msg("srun goes on");
}
START_TEST(test_a_wrong_value_ends_srun) { refused_option(); }
END_TEST
START_TEST(test_with_the_code_that_the_user_has_chosen) {
    ::setenv("SLURM_EXIT_ERROR", "9", 1);
    refused_option();
}
END_TEST
START_TEST(test_which_is_none) {
    ::setenv("SLURM_EXIT_ERROR", "256", 1);
    refused_option();
}
END_TEST
START_TEST(test_too_few_tasks_end_srun) {
    Words words;
    begin(S_CTX_LOCAL, words);
    give("dtask", nullptr);
    slurm().ntasks = 1;
    slurm().cpus_per_task = 1;
    if (call(slurm_spank_init_post_opt, words) == 0) call(slurm_spank_local_user_init, words);
    ck_abort_msg("srun goes on");
}
END_TEST

START_TEST(test_sbatch) {
    Words words;
    begin(S_CTX_ALLOCATOR, words);
    give("dtask-slots", "dedicated");
    ck_assert_int_eq(call(slurm_spank_init_post_opt, words), 0);
    ck_assert(slurm().errors.empty());
}
END_TEST

START_TEST(test_slurmstepd) {
    Words words;
    begin(S_CTX_REMOTE, words);
    give("dtask-slots", "sideways", 1); // has been looked at, by srun
    auto hooks = {slurm_spank_init_post_opt,  slurm_spank_local_user_init,
                  slurm_spank_task_post_fork, slurm_spank_task_init,
                  slurm_spank_task_exit,      slurm_spank_exit};
    for (auto hook : hooks) ck_assert_int_eq(call(hook, words), 0);
    ck_assert(slurm().errors.empty());

    // A handover that is none is the task's end, and nothing else's.
    slurm().env = {{spank::token_variable, std::string(64, '7')},
                   {spank::options_variable, "nonsense"},
                   {"SLURMD_NODENAME", "n1"},
                   {"SLURM_STEP_NODELIST", "n[1-2]"}};
    for (auto hook : hooks)
        ck_assert_int_eq(call(hook, words), hook == slurm_spank_task_init ? -1 : 0);
    ck_assert_uint_eq(slurm().errors.size(), 1);
    ck_contains(slurm().errors[0], "--dtask: task 1 on n1: ");

    // Where there are no cgroups the launcher says so, not the plugin.
    slurm().env[spank::options_variable] = to_text(spank::Handover{model::Options(), "10.0.0.1"});
    slurm().task_pid = ::getpid();
    slurm().errors.clear();
    for (auto hook : hooks) ck_assert_int_eq(call(hook, words), 0);
    ck_assert(slurm().errors.empty());
    ck_assert(slurm().env.contains("DTASK_LAUNCH"));
}
END_TEST

// In slurmd itself, and in whatever else loads plugins.
START_TEST(test_other_programs) {
    Words words;
    begin(S_CTX_SLURMD, words);
    ck_assert(slurm().options.empty());
    for (auto hook :
         {slurm_spank_init_post_opt, slurm_spank_local_user_init, slurm_spank_task_post_fork,
          slurm_spank_task_init, slurm_spank_task_exit, slurm_spank_exit})
        ck_assert_int_eq(call(hook, words), 0);
    ck_assert(slurm().errors.empty());
}
END_TEST

// A failure would drain the node.
START_TEST(test_epilog) {
    Words none, wrong("nope=1");
    begin(S_CTX_JOB_SCRIPT, none);
    ck_assert_int_eq(call(slurm_spank_job_epilog, none), 0);
    ck_assert_int_eq(call(slurm_spank_job_epilog, wrong), 0);
    ck_assert(slurm().errors.empty());
}
END_TEST

} // namespace

int main() {
    Suite *suite = suite_create("abi");
    TCase *cases = tcase_create("hooks");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, test_what_slurm_looks_for);
    tcase_add_test(cases, test_srun);
    tcase_add_exit_test(cases, test_a_wrong_value_ends_srun, 1);
    tcase_add_exit_test(cases, test_with_the_code_that_the_user_has_chosen, 9);
    tcase_add_exit_test(cases, test_which_is_none, 1);
    tcase_add_exit_test(cases, test_too_few_tasks_end_srun, 1);
    tcase_add_test(cases, test_sbatch);
    tcase_add_test(cases, test_slurmstepd);
    tcase_add_test(cases, test_other_programs);
    tcase_add_test(cases, test_epilog);
    suite_add_tcase(suite, cases);
    return test::run(suite);
}

// SPDX-License-Identifier: Apache-2.0
//
// The plugin against a fake Slurm: its side in srun, sbatch and salloc. tests/slurm proves the same
// on the real one.

#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "tests/unit/unit.h"

#include <cstdlib>

#include <unistd.h>

#include "lib/base/env.h"
#include "lib/model/launch.h"
#include "spank/handover.h"
#include "spank/local.h"
#include "spank/nodes.h"
#include "tests/fakes/spank.h"
#include "tests/unit/plugin.h"

using namespace dtask;
using namespace dtask::spank;
using dtask::test::error_of;
using dtask::test::must;
using dtask::test::slurm;
using dtask::test::token;
using dtask::test::words;

namespace {

constexpr std::size_t dtask_option = 0, slots_option = 1, interface_option = 4;

/// srun's side with --dtask given.
Local asked() {
    Local local(true, words, "/default");
    local.on_option(dtask_option, nullptr);
    return local;
}

// ---- srun's side

START_TEST(test_local_leaves_others_alone) {
    ::setenv("SLURM_CPUS_PER_TASK", "4", 1);
    auto before = Env::current().strings();
    Local local(true, words, "/default");
    must(local.on_options_done());
    must(local.on_step_made(slurm().handle()));
    ck_assert(Env::current().strings() == before);
    ck_assert(slurm().errors.empty());
}
END_TEST

START_TEST(test_local_hands_over) {
    ::setenv("DTASK_SLOTS", "overlap", 1);
    slurm().step_nodes = "n[1-2]";
    slurm().node_address = "192.0.2.1";
    auto local = asked();
    must(local.on_options_done());
    ck_assert(!::getenv(token_variable));
    must(local.on_step_made(slurm().handle()));
    ck_assert(model::is_token(::getenv(token_variable)));
    auto handover = must(handover_from_text(::getenv(options_variable)));
    ck_assert(handover.options.slots == model::SlotMode::overlap);
    ck_text_eq(handover.scheduler_host, "192.0.2.1");
}
END_TEST

// Left over by an srun around this one.
START_TEST(test_local_drops_stale_handover) {
    ::setenv(token_variable, token.c_str(), 1);
    ::setenv(options_variable, "", 1);
    Local local(true, words, "/default");
    must(local.on_options_done());
    must(local.on_step_made(slurm().handle()));
    ck_assert(!::getenv(token_variable) && !::getenv(options_variable));
}
END_TEST

START_TEST(test_local_refuses_too_few_tasks) {
    slurm().ntasks = 1;
    auto local = asked();
    must(local.on_options_done());
    ck_contains(error_of(local.on_step_made(slurm().handle())),
                "--dtask-slots=packed: needs at least 2 tasks");
    ck_assert(!::getenv(token_variable));
}
END_TEST

// srun sets SLURM_CPUS_PER_TASK between the two hooks if it knows -c itself.
START_TEST(test_local_counts_the_steps_cpus) {
    slurm().ntasks = 1;
    ::setenv("SLURM_CPUS_PER_TASK", "8", 1); // the job's
    auto local = asked();
    must(local.on_options_done());
    error_of(local.on_step_made(slurm().handle()));
    ck_text_eq(::getenv("SLURM_CPUS_PER_TASK"), "8");

    auto again = asked();
    must(again.on_options_done());
    ::setenv("SLURM_CPUS_PER_TASK", "3", 1); // -c 3
    must(again.on_step_made(slurm().handle()));
    ck_text_eq(::getenv("SLURM_CPUS_PER_TASK"), "3");
}
END_TEST

START_TEST(test_local_copies_cpus_where_inherited) {
    ::setenv("SLURM_CPUS_PER_TASK", "4", 1);
    auto variable = inherited_variable(model::option_table()[0]);
    ck_text_eq(variable, "SLURM_SPANK__SLURM_SPANK_OPTION_dtask_dtask");
    ::setenv(variable.c_str(), "(null)", 1);
    {
        Local local(true, words, "/default");
        ck_text_eq(::getenv("SRUN_CPUS_PER_TASK"), "4");
        local.on_option(dtask_option, "(null)");
        must(local.on_options_done());
        ck_assert(!::getenv("SRUN_CPUS_PER_TASK"));
    }
    ::setenv("SLURM_CPUS_PER_TASK", "4", 1);
    ::setenv("SRUN_CPUS_PER_TASK", "2", 1); // the user's own stays
    Local local(true, words, "/default");
    local.on_option(dtask_option, "(null)");
    must(local.on_options_done());
    ck_text_eq(::getenv("SRUN_CPUS_PER_TASK"), "2");
}
END_TEST

START_TEST(test_local_refuses_heterogeneous_jobs) {
    auto local = asked();
    must(local.on_options_done());
    ck_contains(error_of(local.on_options_done()), "heterogeneous");
    ::setenv("SLURM_HET_SIZE", "2", 1);
    auto inside = asked();
    ck_contains(error_of(inside.on_options_done()), "heterogeneous");
}
END_TEST

START_TEST(test_local_refuses_containers) {
    ::setenv("SLURM_CONTAINER", "/bundle", 1);
    auto local = asked();
    ck_contains(error_of(local.on_options_done()), "--container");
}
END_TEST

START_TEST(test_local_refuses_unknown_interfaces) {
    slurm().step_nodes = "n1";
    slurm().node_address = "127.0.0.1";
    auto local = asked();
    local.on_option(interface_option, "sched=lo,worker=nope0");
    must(local.on_options_done());
    auto text = error_of(local.on_step_made(slurm().handle()));
    ck_contains(text, "--dtask-interface=sched=lo,worker=nope0: node n1 has no interface nope0");
    ck_contains(text, "; accepted: auto, ");
    ck_contains(text, "lo");

    slurm().node_address = "192.0.2.1"; // another machine: its launcher will tell
    auto elsewhere = asked();
    elsewhere.on_option(interface_option, "nope0");
    must(elsewhere.on_options_done());
    must(elsewhere.on_step_made(slurm().handle()));
}
END_TEST

START_TEST(test_local_option_without_dtask) {
    Local local(true, words, "/default");
    local.on_option(slots_option, "overlap");
    ck_contains(error_of(local.on_options_done()),
                "--dtask-slots=overlap: has no effect without --dtask");
    Local in_sbatch(false, words, "/default"); // an srun of the script may have --dtask
    in_sbatch.on_option(slots_option, "overlap");
    must(in_sbatch.on_options_done());
    ::setenv(inherited_variable(model::option_table()[slots_option]).c_str(), "overlap", 1);
    Local inherited(true, words, "/default");
    inherited.on_option(slots_option, "overlap");
    must(inherited.on_options_done());
}
END_TEST

START_TEST(test_local_wrong_site_configuration) {
    const std::vector<const char *> wrong{"nope=1"};
    Local plain(true, wrong, "/default");
    must(plain.on_options_done()); // steps without dtask run
    Local local(true, wrong, "/default");
    local.on_option(dtask_option, nullptr);
    ck_contains(error_of(local.on_options_done()), "plugstack.conf: nope=1: no such key");
}
END_TEST

START_TEST(test_multi_prog) {
    auto has = [](std::vector<std::string> argv, std::size_t command) {
        return has_multi_prog(argv, command);
    };
    // srun counts the file's text as one word more of the command.
    ck_assert(has({"srun", "--dtask", "--multi-prog", "file"}, 2));
    ck_assert(has({"srun", "--multi-prog", "--dtask", "file"}, 2));
    ck_assert(has({"srun", "--mul", "-n2", "file", "arg"}, 3));
    ck_assert(!has({"srun", "--dtask", "prog", "--multi-prog"}, 2));
    ck_assert(!has({"srun", "--mu", "prog"}, 3)); // the command is all that is left
    ck_assert(!has({"srun", "--multi-program", "prog"}, 1));
    ck_assert(!has({"srun", "--mem=1", "prog"}, 1));
    ck_assert(!has({"srun", "--", "--multi-prog"}, 1));
    ck_assert(!has({}, 0));
    ck_assert(!has({"srun"}, 5));
    ck_assert(!has({"srun", "-n2"}, 0)); // no word of a command is known
}
END_TEST

START_TEST(test_choose_host) {
    ck_text_eq(choose_host("10.0.0.1", {}), "10.0.0.1");
    ck_text_eq(choose_host("127.0.0.1", {"127.0.0.1"}), "127.0.0.1");
    ck_text_eq(choose_host("n1", {"10.0.0.1", "fe80::1"}), "10.0.0.1");
    ck_text_eq(choose_host("n1", {"127.0.1.1", "10.0.0.1"}), "10.0.0.1");
    ck_text_eq(choose_host("n1", {"127.0.1.1"}), "n1"); // Debian's own-name entry
    ck_text_eq(choose_host("localhost", {"::1"}), "::1");
    ck_text_eq(choose_host("n1", {}), "n1");
}
END_TEST

START_TEST(test_registers_every_option) {
    register_options(slurm().handle(), nullptr);
    ck_assert_uint_eq(slurm().registered.size(), model::option_table().size());
    ck_text_eq(slurm().registered[0], "dtask");
}
END_TEST

// ---- the nodes' side

// A script that brings its own Dask up, below #SBATCH --dtask=dask.
START_TEST(test_local_leaves_own_dask_alone) {
    for (auto command : {"dask-worker", "/opt/env/bin/dask-scheduler"}) {
        slurm().argv = {command, "--nthreads=1"};
        auto local = asked(); // as inherited: this test's own command line has no --dtask
        must(local.on_options_done());
        auto notice = must(local.on_step_made(slurm().handle()));
        ck_text_eq(notice, (std::string("--dtask: ") + command +
                            " brings up a cluster of its own: this step runs without")
                               .c_str());
        ck_assert(!::getenv(token_variable));
        ck_assert(!::getenv(options_variable));
    }
    slurm().argv = {"python3", "dask-worker"};
    auto local = asked();
    must(local.on_options_done());
    ck_text_eq(must(local.on_step_made(slurm().handle())), "");
    ck_assert(::getenv(token_variable));
}
END_TEST

START_TEST(test_parts_of_dask) {
    using Words = std::vector<std::string>;
    for (const Words &command : {Words{"dask-mpi"}, {"./dask-worker"}, {"dask", "scheduler"}})
        ck_assert(is_part_of_dask(command));
    for (const Words &command :
         {Words{}, {"dask"}, {"dask", "info"}, {"dask-workers"}, {"/dask/x"}})
        ck_assert(!is_part_of_dask(command));
    ck_assert(has_own_dtask(Words{"srun", "-n4", "--dtask", "dask-worker"}, 1));
    ck_assert(has_own_dtask(Words{"srun", "--dtask=dask", "dask-worker", "-v"}, 2));
    ck_assert(!has_own_dtask(Words{"srun", "--dtask-slots=packed", "dask-worker"}, 1));
    ck_assert(!has_own_dtask(Words{"srun", "dask-worker", "--dtask"}, 2));
}
END_TEST

START_TEST(test_local_expands_home) {
    ::setenv("HOME", "/home/u", 1);
    ::setenv("DTASK_LOG", "~/%j.log", 1);
    auto local = asked();
    local.on_option(6, "~/%j.sched");
    must(local.on_options_done());
    must(local.on_step_made(slurm().handle()));
    auto options = must(handover_from_text(::getenv(options_variable))).options;
    ck_text_eq(options.scheduler_file, "/home/u/%j.sched");
    ck_text_eq(options.log, "/home/u/%j.log");
    ::unsetenv("HOME");
    ck_text_eq(error_of(asked().on_options_done()),
               "--dtask-log=~/%j.log: HOME is not set; accepted: a path without ~");
}
END_TEST

Suite *suite() {
    auto s = suite_create("plugin");
    auto l = tcase_create("local");
    for (auto test :
         {test_local_leaves_others_alone, test_local_hands_over, test_local_drops_stale_handover,
          test_local_refuses_too_few_tasks, test_local_counts_the_steps_cpus,
          test_local_copies_cpus_where_inherited, test_local_refuses_heterogeneous_jobs,
          test_local_refuses_containers, test_local_refuses_unknown_interfaces,
          test_local_option_without_dtask, test_local_wrong_site_configuration,
          test_local_leaves_own_dask_alone, test_parts_of_dask, test_local_expands_home,
          test_multi_prog, test_choose_host, test_registers_every_option})
        tcase_add_test(l, test);
    suite_add_tcase(s, l);
    suite_add_tcase(s, test::remote_tests());
    return s;
}

} // namespace

int main() {
    // What the calling shell has of Slurm's and dtask's is no part of a test.
    Env env = Env::current();
    for (const auto &entry : env.strings()) {
        auto name = entry.substr(0, entry.find('='));
        if (name.starts_with("SLURM_") || name.starts_with("SRUN_") || name.starts_with("DTASK"))
            ::unsetenv(name.c_str());
    }
    return test::run(suite());
}

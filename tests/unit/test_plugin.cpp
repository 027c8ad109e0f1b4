// SPDX-License-Identifier: Apache-2.0
//
// The plugin's two sides against a fake Slurm. tests/slurm proves the same on
// the real one.
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "tests/unit/unit.h"

#include <cstdlib>

#include <unistd.h>

#include "lib/base/env.h"
#include "spank/local.h"
#include "spank/nodes.h"
#include "spank/remote.h"
#include "tests/fakes/spank.h"

using namespace dtask;
using namespace dtask::spank;
using dtask::test::contains;
using dtask::test::error_of;
using dtask::test::must;

namespace {

const std::string token(64, '7');
const std::vector<const char *> words{"launcher=/bin/true", "ports=20000-20009"};
constexpr std::size_t dtask_option = 0, slots_option = 1, interface_option = 4;

fake::Slurm &slurm() { return fake::slurm; }

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

struct Call {
    std::uint64_t memory, quota;
    std::uint32_t rank;
    uid_t uid;
    std::uint32_t commands;
};

struct Kernel {
    std::vector<uid_t> sealed;
    std::vector<Call> made;
    std::vector<std::uint32_t> removed;
    int busy = 0; ///< how many removals fail first
    bool broken = false;
};

class FakeDriver : public cgroup::Driver {
public:
    FakeDriver(Kernel &kernel, int number) : kernel_(kernel), version_(number) {}
    int version() const override { return version_; }
    Result<void> seal(const cgroup::Membership &, uid_t uid) override {
        if (kernel_.broken) return fail("memory: no such cgroup controller");
        kernel_.sealed.push_back(uid);
        return {};
    }
    Result<void> make_worker_group(const cgroup::Membership &, const cgroup::GroupName &name,
                                   const cgroup::Limits &limits, uid_t uid) override {
        if (kernel_.broken) return fail("memory: no such cgroup controller");
        kernel_.made.push_back(
            {limits.memory, limits.cpu_quota_us, name.rank, uid, limits.commands});
        return {};
    }
    Result<void> remove(const cgroup::Membership &, const cgroup::GroupName &name) override {
        if (kernel_.busy > 0) {
            kernel_.busy--;
            return fail("busy");
        }
        kernel_.removed.push_back(name.rank);
        return {};
    }
    Result<void> sweep(std::uint32_t, uid_t) override { return {}; }

private:
    Kernel &kernel_;
    int version_;
};

Remote remote(Kernel &kernel, int version = 1) {
    return Remote(words, "/default", std::make_unique<FakeDriver>(kernel, version));
}

/// A step of four tasks of four CPUs with a handover, seen by task `rank`.
void cluster_step(std::uint32_t rank, const model::Options &options = {}) {
    slurm() = fake::Slurm{};
    slurm().rank = rank;
    slurm().local_rank = static_cast<int>(rank % 2);
    slurm().task_pid = ::getpid();
    slurm().env = {{token_variable, token},
                   {options_variable, to_text(Handover{options, "10.0.0.1"})},
                   {"SLURMD_NODENAME", "n1"},
                   {"SLURM_STEP_NODELIST", "n[1-2]"},
                   {"SLURM_MEM_PER_CPU", "100"},
                   {"SLURM_SUBMIT_DIR", "/home/u"},
                   {"PATH", "/bin"}};
}

model::LaunchSpec spec_in_env() {
    return must(model::launch_from_text(slurm().env.at("DTASK_LAUNCH")));
}

// Each CPU's command may get a limit of its own, and no other client's task does.
START_TEST(test_remote_groups_for_commands) {
    Kernel kernel;
    auto r = remote(kernel);
    auto commands_of = [&](std::vector<std::string> argv) {
        cluster_step(3);
        slurm().argv = std::move(argv);
        kernel.made.clear();
        must(r.on_task_forked(slurm().handle()));
        ck_assert_uint_eq(kernel.made.size(), 1);
        return kernel.made[0].commands;
    };
    ck_assert_uint_eq(commands_of({"/usr/bin/dtask", "map", "prog", ":::", "1"}), 4);
    ck_assert_uint_eq(commands_of({"dtask", "status"}), 0);
    ck_assert_uint_eq(commands_of({"dtask"}), 0);
    ck_assert_uint_eq(commands_of({"python", "map"}), 0);
}
END_TEST

START_TEST(test_remote_leaves_others_alone) {
    Kernel kernel;
    auto r = remote(kernel);
    for (std::uint32_t step :
         {0xfffffffbu, 0xfffffffcu, 0xfffffffau}) { // batch, extern, interactive
        cluster_step(1);
        slurm().step = step;
        auto before = slurm().env;
        must(r.on_task_forked(slurm().handle()));
        must(r.on_task_init(slurm().handle()));
        ck_assert(slurm().env == before);
    }
    for (const char *variable : {token_variable, options_variable}) {
        cluster_step(1);
        slurm().env.erase(variable);
        auto before = slurm().env;
        must(r.on_task_forked(slurm().handle()));
        must(r.on_task_init(slurm().handle()));
        ck_assert(slurm().env == before);
        ck_assert(slurm().argv_now() == slurm().argv);
    }
    ck_assert(kernel.made.empty());
    r.on_task_exit(slurm().handle());
    r.on_exit();
    ck_assert(kernel.removed.empty());
}
END_TEST

START_TEST(test_remote_limits_and_launches) {
    Kernel kernel;
    auto r = remote(kernel);
    cluster_step(3);
    must(r.on_task_forked(slurm().handle()));
    ck_assert_uint_eq(kernel.made.size(), 1);
    ck_assert_uint_eq(kernel.made[0].memory, 400 << 20);
    ck_assert_uint_eq(kernel.made[0].rank, 3);
    ck_assert_uint_eq(kernel.made[0].uid, 1000);
    ck_assert_uint_eq(kernel.made[0].commands, 0);

    must(r.on_task_init(slurm().handle()));
    auto spec = spec_in_env();
    ck_text_eq(spec.token, token);
    ck_assert_uint_eq(spec.job, 7);
    ck_assert_uint_eq(spec.rank, 3);
    ck_assert_uint_eq(spec.ntasks, 4);
    ck_assert_uint_eq(spec.local_rank, 1);
    ck_assert_uint_eq(spec.worker_memory, 400 << 20);
    ck_assert_uint_eq(spec.worker_cpus, 4);
    ck_assert_uint_eq(spec.first_port, 20000);
    ck_text_eq(spec.node, "n1");
    ck_text_eq(spec.scheduler_node, "n1");
    ck_text_eq(spec.scheduler_host, "10.0.0.1");
    ck_text_eq(spec.submit_dir, "/home/u");
    ck_text_eq(spec.cgroup_root, "/sys/fs/cgroup");
#ifdef HAVE_SPANK_PREPEND_TASK_ARGV
    ck_assert(
        (slurm().argv_now() == std::vector<std::string>{"/bin/true", "--", "python3", "x.py"}));
    ck_text_eq(spec.argv0, "");
#else
    ck_assert((slurm().argv_now() == std::vector<std::string>{"/bin/true", "x.py"}));
    ck_text_eq(spec.argv0, "python3");
#endif
}
END_TEST

START_TEST(test_remote_cleans_the_environment) {
    Kernel kernel;
    auto r = remote(kernel);
    cluster_step(0);
    const std::vector<const char *> ours{"DTASK",
                                         "DTASK_SLOTS",
                                         "DTASK_TOKEN",
                                         "DTASK_ADDRESS",
                                         "DTASK_LOG",
                                         "DTASK_SCHEDULER_FILE",
                                         "DTASK_NTHREADS",
                                         "SLURM_SPANK__SLURM_SPANK_OPTION_dtask_dtask",
                                         "_SLURM_SPANK_OPTION_dtask_dtask_slots",
                                         "SPANK__SLURM_SPANK_OPTION_dtask_dtask_memory"};
    const std::vector<const char *> theirs{"DTASK_PYTHON", "DTASKX", "MY_DTASK_TOKEN",
                                           "SLURM_SPANK__SLURM_SPANK_OPTION_other_x"};
    for (auto name : ours) slurm().env[name] = "x";
    for (auto name : theirs) slurm().env[name] = "x";
    must(r.on_task_init(slurm().handle()));
    for (auto name : ours) ck_assert_msg(!slurm().env.contains(name), "left: %s", name);
    for (auto name : theirs) ck_assert_msg(slurm().env.contains(name), "lost: %s", name);
    ck_assert(!slurm().env.contains(token_variable));
    ck_assert(!slurm().env.contains(options_variable));
    // The token is in one place only.
    for (const auto &[name, value] : slurm().env)
        ck_assert_msg(name == "DTASK_LAUNCH" || !contains(value, token), "in %s", name.c_str());
}
END_TEST

// The environment is the user's: what it says is clamped to the credential.
START_TEST(test_remote_trusts_the_credential_only) {
    Kernel kernel;
    auto r = remote(kernel);
    for (const char *text : {"1000000", "-1", "99999999999999999999", "x", ""}) {
        kernel.made.clear();
        cluster_step(3);
        slurm().env["SLURM_MEM_PER_CPU"] = text;
        must(r.on_task_forked(slurm().handle()));
        ck_assert_uint_eq(kernel.made.size(), 1);
        ck_assert_uint_eq(kernel.made[0].memory, 800 << 20); // 1600 MB, two tasks
    }
}
END_TEST

START_TEST(test_remote_bad_handover) {
    Kernel kernel;
    auto r = remote(kernel);
    auto check = [&](const char *variable, const char *value) {
        cluster_step(1);
        slurm().env[variable] = value;
        must(r.on_task_forked(slurm().handle()));
        auto text = error_of(r.on_task_init(slurm().handle()));
        ck_contains(text, "--dtask: task 1 on ");
        ck_assert_msg(!contains(text, "SECRET"), "%s", text.c_str());
        ck_assert(!slurm().env.contains("DTASK_LAUNCH"));
        ck_assert(slurm().argv_now() == slurm().argv);
    };
    check(options_variable, "nonsense");
    check(options_variable, "slots=SECRET");
    check(token_variable, "SECRET");
    check(token_variable, "");
    check("SLURMD_NODENAME", "a/../b");
    check("SLURM_STEP_NODELIST", "n[1");
    ck_assert(kernel.made.size() <= 6);
}
END_TEST

START_TEST(test_remote_failed_limits) {
    Kernel kernel;
    kernel.broken = true;
    auto r = remote(kernel);
    cluster_step(1);
    ck_contains(error_of(r.on_task_forked(slurm().handle())),
                "--dtask: task 1 on n1: cannot limit the worker: memory: no such cgroup");
    must(r.on_task_init(slurm().handle())); // the launcher watches instead, or says no
    r.on_exit();
}
END_TEST

START_TEST(test_remote_no_limits) {
    Kernel kernel;
    auto r = remote(kernel);
    model::Options options;
    must(model::parse(options, "dtask-memory", "none"));
    must(model::parse(options, "dtask-cpus", "none"));
    cluster_step(3, options);
    must(r.on_task_forked(slurm().handle()));
    must(model::parse(options, "dtask-slots", "dedicated"));
    cluster_step(1, options); // the client's task has no worker
    must(r.on_task_forked(slurm().handle()));
    ck_assert(kernel.made.empty());
    ck_assert(kernel.sealed.empty());
}
END_TEST

START_TEST(test_remote_seals_every_task) {
    Kernel kernel;
    auto r = remote(kernel);
    model::Options options;
    must(model::parse(options, "dtask-slots", "dedicated"));
    cluster_step(3, options);
    must(r.on_task_forked(slurm().handle()));
    cluster_step(1, options); // the client's task, where a worker's processes could go
    must(r.on_task_forked(slurm().handle()));
    ck_assert_uint_eq(kernel.made.size(), 1);
    ck_assert((kernel.sealed == std::vector<uid_t>{1000, 1000}));
    kernel.broken = true;
    cluster_step(1, options);
    must(r.on_task_forked(slurm().handle())); // it has no limit that could be missed
}
END_TEST

START_TEST(test_remote_removes) {
    Kernel kernel;
    auto r = remote(kernel);
    for (std::uint32_t rank : {1u, 3u}) {
        cluster_step(rank);
        must(r.on_task_forked(slurm().handle()));
    }
    kernel.busy = 3;
    r.on_task_exit(slurm().handle()); // 3: what died with it lingers for a moment
    ck_assert_uint_eq(kernel.removed.size(), 1);
    slurm().rank = 1;
    kernel.busy = 60;
    r.on_task_exit(slurm().handle()); // for longer than one waits for
    ck_assert_uint_eq(kernel.removed.size(), 1);
    slurm().has_task = false;
    r.on_task_exit(slurm().handle());
    r.on_exit();
    ck_assert_uint_eq(kernel.removed.size(), 2);
    r.on_exit();
    ck_assert_uint_eq(kernel.removed.size(), 2);
}
END_TEST

START_TEST(test_remote_gives_up_on_a_busy_group) {
    Kernel kernel;
    auto r = remote(kernel);
    cluster_step(1);
    must(r.on_task_forked(slurm().handle()));
    kernel.busy = 1'000'000;
    r.on_exit(); // must end; libcheck's time-out is the bound
    ck_assert(kernel.removed.empty());
}
END_TEST

START_TEST(test_remote_wrong_site_configuration) {
    const std::vector<const char *> wrong{"nope=1"};
    Remote r(wrong, "/default");
    cluster_step(1);
    must(r.on_task_forked(slurm().handle()));
    ck_contains(error_of(r.on_task_init(slurm().handle())), "plugstack.conf: nope=1: no such key");
    slurm().env.clear();
    must(r.on_task_init(slurm().handle()));
}
END_TEST

START_TEST(test_remote_missing_launcher) {
    const std::vector<const char *> missing{"launcher=/nowhere/dtaskd"};
    Remote r(missing, "/default");
    cluster_step(1);
    ck_text_eq(error_of(r.on_task_init(slurm().handle())),
               "--dtask: task 1 on n1: launcher /nowhere/dtaskd: No such file or directory");
}
END_TEST

START_TEST(test_remote_refusals) {
    Kernel kernel;
    auto r = remote(kernel);
    cluster_step(1);
    slurm().env["SLURM_CONTAINER"] = "/bundle";
    ck_contains(error_of(r.on_task_init(slurm().handle())), "--container");
    cluster_step(0);
    slurm().ntasks = 1;
    slurm().cpus_per_task = 1;
    ck_contains(error_of(r.on_task_init(slurm().handle())), "--dtask-slots=packed: needs");
    cluster_step(1);
    slurm().rank = 99; // nonsense from Slurm
    error_of(r.on_task_init(slurm().handle()));
}
END_TEST

START_TEST(test_group_limits) {
    model::WorkerLimits limits{100, 200, 200'000};
    model::Role worker{false, false, true, 4, 0}, shared{true, true, true, 2, 2};
    auto v1 = group_limits(1, shared, limits, 4);
    ck_assert_uint_eq(v1.memory, 100);
    ck_assert_uint_eq(v1.cpu_quota_us, 200'000);
    auto v2 = group_limits(2, worker, limits, 4);
    ck_assert_uint_eq(v2.memory, 100);
    // On v2 the group is the whole task, client and scheduler included.
    limits.task_memory = 300;
    auto v2_shared = group_limits(2, shared, limits, 4);
    ck_assert_uint_eq(v2_shared.memory, 300);
    ck_assert_uint_eq(v2_shared.cpu_quota_us, 400'000);
}
END_TEST

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
    tcase_add_test(l, test_local_leaves_others_alone);
    tcase_add_test(l, test_local_hands_over);
    tcase_add_test(l, test_local_drops_stale_handover);
    tcase_add_test(l, test_local_refuses_too_few_tasks);
    tcase_add_test(l, test_local_counts_the_steps_cpus);
    tcase_add_test(l, test_local_copies_cpus_where_inherited);
    tcase_add_test(l, test_local_refuses_heterogeneous_jobs);
    tcase_add_test(l, test_local_refuses_containers);
    tcase_add_test(l, test_local_refuses_unknown_interfaces);
    tcase_add_test(l, test_local_option_without_dtask);
    tcase_add_test(l, test_local_wrong_site_configuration);
    tcase_add_test(l, test_local_leaves_own_dask_alone);
    tcase_add_test(l, test_parts_of_dask);
    tcase_add_test(l, test_local_expands_home);
    tcase_add_test(l, test_multi_prog);
    tcase_add_test(l, test_choose_host);
    tcase_add_test(l, test_registers_every_option);
    suite_add_tcase(s, l);
    auto r = tcase_create("remote");
    tcase_add_test(r, test_remote_leaves_others_alone);
    tcase_add_test(r, test_remote_limits_and_launches);
    tcase_add_test(r, test_remote_groups_for_commands);
    tcase_add_test(r, test_remote_cleans_the_environment);
    tcase_add_test(r, test_remote_trusts_the_credential_only);
    tcase_add_test(r, test_remote_bad_handover);
    tcase_add_test(r, test_remote_failed_limits);
    tcase_add_test(r, test_remote_no_limits);
    tcase_add_test(r, test_remote_seals_every_task);
    tcase_add_test(r, test_remote_removes);
    tcase_add_test(r, test_remote_gives_up_on_a_busy_group);
    tcase_add_test(r, test_remote_wrong_site_configuration);
    tcase_add_test(r, test_remote_missing_launcher);
    tcase_add_test(r, test_remote_refusals);
    tcase_add_test(r, test_group_limits);
    suite_add_tcase(s, r);
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

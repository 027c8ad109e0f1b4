// SPDX-License-Identifier: Apache-2.0
//
// The plugin's side on the nodes against a fake Slurm. tests/slurm proves the same on the real
// one.

#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "tests/unit/unit.h"

#include "lib/base/env.h"
#include "lib/model/launch.h"
#include "spank/handover.h"
#include "spank/remote.h"
#include "tests/fakes/spank.h"
#include "tests/unit/plugin.h"

using namespace dtask;
using namespace dtask::spank;
using dtask::test::contains;
using dtask::test::error_of;
using dtask::test::must;
using dtask::test::slurm;
using dtask::test::token;
using dtask::test::words;

namespace {

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

} // namespace

TCase *test::remote_tests() {
    auto r = tcase_create("remote");
    for (auto test : {test_remote_leaves_others_alone, test_remote_limits_and_launches,
                      test_remote_groups_for_commands, test_remote_cleans_the_environment,
                      test_remote_trusts_the_credential_only, test_remote_bad_handover,
                      test_remote_failed_limits, test_remote_no_limits,
                      test_remote_seals_every_task, test_remote_removes,
                      test_remote_gives_up_on_a_busy_group, test_remote_wrong_site_configuration,
                      test_remote_missing_launcher, test_remote_refusals, test_group_limits})
        tcase_add_test(r, test);
    return r;
}

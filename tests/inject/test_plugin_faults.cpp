// SPDX-License-Identifier: Apache-2.0
//
// The plugin's root part, by its C ABI, while each of its system calls fails
// once, is cut short, or is where slurmstepd is killed: tracer.h says what is
// judged. Besides, the limits are right or there are none, and nothing is left
// when slurmstepd has ended, or, where it was killed, after the job's epilog.
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "tests/unit/unit.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <set>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/cgroup/cgroup.h"
#include "spank/handover.h"
#include "tests/fakes/spank.h"
#include "tests/inject/calls.h"
#include "tests/inject/tracer.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using namespace dtask::inject;
using dtask::test::must;
namespace fs = std::filesystem;

extern "C" {
int slurm_spank_init_post_opt(spank_t, int, char **);
int slurm_spank_task_post_fork(spank_t, int, char **);
int slurm_spank_task_init(spank_t, int, char **);
int slurm_spank_task_exit(spank_t, int, char **);
int slurm_spank_job_epilog(spank_t, int, char **);
}

namespace {

// 157286400: without its first digit it is a number, too.
constexpr std::uint64_t memory = std::uint64_t{150} << 20;
constexpr std::uint64_t last_resort = memory + (std::uint64_t{32} << 20);
constexpr std::uint64_t quota = 400'000; // four CPUs

/// The job's; an ordinary one where this is root.
uid_t user() { return ::geteuid() == 0 ? 65534 : ::getuid(); }

void put(const std::string &path, std::string_view text) {
    std::ofstream file(path, std::ios::trunc);
    file << text;
}

/// The first line; empty where there is none.
std::string get(const std::string &path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

/// Of main, whose children the tests are.
const pid_t program = ::getpid();

/// A node as the plugin finds it: a stage, and what must be there or not.
class Node {
public:
    virtual ~Node() = default;
    Stage stage;
    std::uint32_t job = 7;
    std::string own_group; ///< of the task, in the memory controller or v2; empty: shared
    bool joins = false;    ///< a task must enter own_group, for it is the kernel's

    /// As before any step: Slurm has given the directories of step and task to the user.
    virtual void reset() {
        if (own_group.empty()) return;
        for (const auto &group : {fs::path(own_group), fs::path(own_group).parent_path()})
            ck_assert_int_eq(::chown(group.c_str(), user(), static_cast<gid_t>(-1)), 0);
    }
    /// As after a step whose slurmstepd was killed.
    void leave() {
        reset();
        for (const auto &group : groups()) fs::create_directories(group);
    }
    /// What of ours there is.
    std::set<std::string> left() const {
        std::set<std::string> all;
        for (const auto &group : groups())
            if (fs::exists(group)) all.insert(group);
        return all;
    }
    /// The limits are all in force, or none is.
    std::string wrong_limits() const {
        if (stage.v2) {
            auto now = get(own_group + "/memory.high") + ' ' + get(own_group + "/memory.max") +
                       ' ' + get(own_group + "/cpu.max");
            auto set = std::to_string(memory) + ' ' + std::to_string(last_resort) + ' ' +
                       std::to_string(quota) + " 100000";
            return now == set || now == "max max max 100000" ? "" : now;
        }
        auto all = groups();
        if (fs::exists(all[0]) != fs::exists(all[1])) return "one group of two";
        if (!fs::exists(all[0])) return {};
        auto limit = get(all[0] + "/memory.limit_in_bytes");
        auto cpu = get(all[1] + "/cpu.cfs_quota_us");
        if (limit == std::to_string(memory) && cpu == std::to_string(quota)) return {};
        return limit + ' ' + cpu;
    }

protected:
    /// v1: the task's two groups, and what is above them of our tree.
    std::vector<std::string> groups() const {
        if (stage.v2) return {};
        auto number = std::to_string(job);
        auto cpu = stage.root + "/cpu/dtask", mine = stage.root + "/memory/dtask";
        auto below = "/job_" + number + "/step_0/task_1";
        auto first = own_group.empty() ? mine + below : own_group + "/dtask";
        return {first, cpu + below, cpu + "/job_" + number, mine + "/job_" + number};
    }
};

/// A directory that plays cgroupfs.
class Played : public Node {
public:
    Played(bool v2, bool has_own) {
        auto top = fs::canonical(place_.path()).string();
        stage.root = top + "/cgroup";
        stage.v2 = v2;
        auto path = "/slurm_n1/uid_" + std::to_string(user()) + "/job_7/step_0/task_1";
        std::string mine = has_own ? path : "/user.slice";
        if (v2) {
            stage.mountinfo = "30 22 0:25 / " + stage.root + " rw - cgroup2 cgroup2 rw\n";
            stage.membership = "0::" + mine + "\n";
            own_group = stage.root + mine;
        } else {
            stage.mountinfo = "31 30 0:26 / " + stage.root +
                              "/memory rw - cgroup cgroup rw,memory\n"
                              "32 30 0:27 / " +
                              stage.root + "/cpu rw - cgroup cgroup rw,cpu\n";
            stage.membership = "4:memory:" + mine + "\n1:cpu:/\n";
            if (has_own) own_group = stage.root + "/memory" + mine;
            fs::create_directories(stage.root + "/cpu");
        }
        fs::create_directories(v2 ? own_group : stage.root + "/memory" + mine);
        reset();
    }
    void reset() override {
        Node::reset();
        if (!stage.v2) return;
        for (const char *name : {"memory.high", "memory.max", "memory.swap.max"})
            put(own_group + '/' + name, "max\n");
        put(own_group + "/cpu.max", "max 100000\n");
    }

private:
    test::Scratch place_;
};

/// This machine's own cgroups, with a task group that is removed at the end.
class Kernel : public Node {
public:
    Kernel() {
        auto layout = must(cgroup::system_layout());
        auto driver = must(cgroup::make_driver(layout));
        stage.root = "/sys/fs/cgroup";
        stage.v2 = driver->version() == 2;
        job = 3'900'000'000 + static_cast<std::uint32_t>(::getpid());
        auto point = stage.root + (stage.v2 ? "" : "/memory");
        for (const auto &name :
             {top_name(), "uid_" + std::to_string(user()), "job_" + std::to_string(job),
              std::string("step_0"), std::string("task_1")}) {
            if (stage.v2) put(point + "/cgroup.subtree_control", "+memory +cpu");
            point += '/' + name;
            ck_assert_msg(::mkdir(point.c_str(), 0755) == 0, "cannot make %s: %s", point.c_str(),
                          std::strerror(errno));
            made_.push_back(point);
        }
        own_group = point;
        joins = true;
        reset();
    }
    ~Kernel() override {
        for (auto it = made_.rbegin(); it != made_.rend(); ++it) ::rmdir(it->c_str());
    }
    /// A test that fails leaves its groups: this removes them.
    static void clean_up() {
        for (const char *point : {"/sys/fs/cgroup/", "/sys/fs/cgroup/memory/"}) {
            std::error_code none;
            std::vector<fs::path> all{point + top_name()};
            for (const auto &entry : fs::recursive_directory_iterator(all[0], none))
                if (entry.is_directory()) all.push_back(entry.path());
            for (auto it = all.rbegin(); it != all.rend(); ++it) ::rmdir(it->c_str());
        }
    }
    void reset() override {
        Node::reset();
        if (!stage.v2) return;
        put(own_group + "/memory.high", "max");
        put(own_group + "/memory.max", "max");
        put(own_group + "/cpu.max", "max");
    }

private:
    static std::string top_name() { return "slurm_dtask-test-" + std::to_string(program); }
    std::vector<std::string> made_;
};

/// plugstack.conf's words, for the C ABI.
struct Words {
    explicit Words(const Node &node) : root("cgroup_root=" + node.stage.root) {}
    std::string launcher = "launcher=/bin/true", root;
    std::array<char *, 2> all{launcher.data(), root.data()};
    int count() const { return static_cast<int>(all.size()); }
};

void play_slurm(const Node &node) {
    model::Options options;
    options.memory = {model::MemoryOption::size, memory};
    options.cpus = model::CpuMode::quota;
    auto &slurm = fake::slurm;
    slurm = fake::Slurm{};
    slurm.uid = user();
    slurm.job = node.job;
    slurm.task_pid = ::getpid();
    slurm.env = {{spank::token_variable, std::string(64, '7')},
                 {spank::options_variable, to_text(spank::Handover{options, "10.0.0.1"})},
                 {"SLURMD_NODENAME", "n1"},
                 {"SLURM_STEP_NODELIST", "n[1-2]"},
                 {"PATH", "/bin"}};
}

[[noreturn]] void give_up(const std::string &why) {
    std::fprintf(stderr, "%s\n", why.c_str());
    ::_exit(1);
}

/// slurmstepd and its task in one process.
void whole_step(const Node &node) {
    Words words(node);
    if (node.joins) put(node.own_group + "/cgroup.procs", "0");
    play_slurm(node);
    auto *handle = fake::slurm.handle();
    int count = words.count();
    char **all = words.all.data();
    hook("init", false, [&] { return slurm_spank_init(handle, count, all); });
    hook("init_post_opt", false, [&] { return slurm_spank_init_post_opt(handle, count, all); });
    hook("task_post_fork", false, [&] { return slurm_spank_task_post_fork(handle, count, all); });
    if (auto why = node.wrong_limits(); !why.empty()) give_up("wrong limits: " + why);
    hook("task_init", true, [&] { return slurm_spank_task_init(handle, count, all); });
    hook("task_exit", false, [&] { return slurm_spank_task_exit(handle, count, all); });
    hook("exit", false, [&] { return slurm_spank_exit(handle, count, all); });
}

void epilog(const Node &node) {
    Words words(node);
    play_slurm(node);
    fake::slurm.context = S_CTX_JOB_SCRIPT;
    fake::slurm.has_task = false;
    auto *handle = fake::slurm.handle();
    hook("job_epilog", false,
         [&] { return slurm_spank_job_epilog(handle, words.count(), words.all.data()); });
}

/// Fails the test where the outcome is not as it must be.
void expect_right(const Outcome &outcome, const Fault &fault) {
    if (outcome.wrong.empty()) return;
    std::string text;
    for (const auto &one : outcome.wrong) text += "\n    " + one;
    const char *what = fault.nth == 0                         ? "nothing fails"
                       : fault.kind == Fault::Kind::killed    ? "killed"
                       : fault.kind == Fault::Kind::shortened ? "cut short"
                                                              : std::strerror(fault.error);
    ck_abort_msg("call %zu, %s, %s:%s", fault.nth, outcome.broken.c_str(), what, text.c_str());
}

void expect_nothing_left(const Node &node, const Outcome &outcome, const char *when) {
    auto left = node.left();
    if (left.empty()) return;
    ck_abort_msg("%s, after the fault at call %s: %s is left", when, outcome.broken.c_str(),
                 left.begin()->c_str());
}

/// Every way in which a call of `sound` may go wrong, the numbers in turn; where not
/// `all_ways`, these in turn, too.
std::vector<Fault> faults_of(const Outcome &sound, bool all_ways) {
    constexpr int numbers[]{EIO, EACCES, ENOENT, ENOSPC, EMFILE, ENOMEM, EBUSY, ENOTDIR};
    constexpr auto count = std::size(numbers);
    using enum Fault::Kind;
    std::vector<Fault> all;
    for (std::size_t nth = 1; nth <= sound.calls; nth++) {
        // A fork is dear there; without sanitizers none is left out.
        if (sanitized && nth % 5 != sound.calls % 5) continue;
        std::vector<Fault> ways{{nth, error, numbers[(nth + nth / count) % count]},
                                {nth, error, EINTR}};
        // Between two changes it makes no difference where it dies.
        if (sound.changes.contains(nth)) ways.push_back({nth, killed, 0});
        if (all_ways)
            all.insert(all.end(), ways.begin(), ways.end());
        else
            all.push_back(ways[nth % ways.size()]);
        if (sound.transfers.contains(nth)) all.push_back({nth, shortened, 0});
    }
    return all;
}

void each_call_fails_once(Node &node, bool all_ways) {
    // The step.
    auto sound = trace(node.stage, {}, [&] { whole_step(node); });
    expect_right(sound, {});
    expect_nothing_left(node, sound, "a sound step");
    ck_assert_uint_gt(sound.calls, 20);
    for (const auto &fault : faults_of(sound, all_ways)) {
        node.reset();
        auto outcome = trace(node.stage, fault, [&] { whole_step(node); });
        expect_right(outcome, fault);
        // It cannot know that what it doesn't find is there all the same.
        if (fault.kind == Fault::Kind::killed || fault.error == ENOENT)
            expect_right(trace(node.stage, {}, [&] { epilog(node); }), {});
        expect_nothing_left(node, outcome, "the step");
    }

    // The epilog of a job whose slurmstepd was killed.
    node.leave();
    sound = trace(node.stage, {}, [&] { epilog(node); });
    expect_right(sound, {});
    expect_nothing_left(node, sound, "a sound epilog");
    for (const auto &fault : faults_of(sound, all_ways)) {
        node.leave();
        auto outcome = trace(node.stage, fault, [&] { epilog(node); });
        expect_right(outcome, fault);
        if (!node.left().empty()) expect_right(trace(node.stage, {}, [&] { epilog(node); }), {});
        expect_nothing_left(node, outcome, "two epilogs");
    }
    node.reset();
}

START_TEST(test_v1) {
    Played node(false, true);
    each_call_fails_once(node, true);
}
END_TEST

// proctrack/linuxproc: the task has no group of its own.
START_TEST(test_v1_without_task_groups) {
    Played node(false, false);
    each_call_fails_once(node, false);
}
END_TEST

START_TEST(test_v2) {
    Played node(true, true);
    each_call_fails_once(node, true);
}
END_TEST

START_TEST(test_this_kernel) {
    if (::geteuid() != 0) {
        std::puts("not root: this machine's own cgroups are left out");
        return;
    }
    Kernel node;
    each_call_fails_once(node, false);
}
END_TEST

// The tracer itself: what the plugin must not do is found.
START_TEST(test_tracer_finds) {
    Played node(false, true);
    auto wrong = [&](auto call) {
        auto outcome = trace(node.stage, {}, [&] { hook("init", false, call); });
        return outcome.wrong.empty() ? std::string() : outcome.wrong[0];
    };
    auto outside = node.stage.root + "-not";
    ck_text_eq(wrong([] { return 0; }), "");
    ck_text_eq(wrong([] { return -1; }), "init: returned -1");
    ck_contains(wrong([] { return ::open("/proc/self/stat", O_RDONLY) < 0; }), "init: left open");
    ck_contains(wrong([] { return ::close(0); }), "init: closed what is not its own");
    ck_contains(wrong([&] { return ::mkdirat(AT_FDCWD, outside.c_str(), 0755); }),
                "init: changed what is not in a cgroup: mkdirat " + outside);
    auto link = node.stage.root + "/link";
    ck_assert_int_eq(::symlink("/tmp", link.c_str()), 0);
    auto through = link + "/dtask-no";
    ck_contains(wrong([&] { return ::close(::openat(AT_FDCWD, through.c_str(), O_WRONLY)) == 0; }),
                "init: changed what is not in a cgroup: openat /tmp/dtask-no");
    ck_contains(wrong([] { return ::close(::open("/etc/passwd", O_RDONLY)); }),
                "init: read what is not the kernel's");
    ck_contains(wrong([] { return ::fork() == 0 ? ::_exit(0), 0 : 0; }),
                "init: not for root's part to call");
    ck_contains(wrong([] { return ::chmod("/dtask-no", 0) == 0; }),
                "init: not for root's part to call");
    // Not __builtin_trap(), before which sanitizers look at the stack.
    auto trap = [] {
        __asm__ volatile("ud2");
        return 0;
    };
    ck_contains(wrong(trap), "init: ended by signal 4");
}
END_TEST

} // namespace

int main() {
    auto s = suite_create("plugin_faults");
    for (auto [name, test] : {std::pair{"tracer", test_tracer_finds},
                              {"v1", test_v1},
                              {"v1_without_task_groups", test_v1_without_task_groups},
                              {"v2", test_v2},
                              {"this_kernel", test_this_kernel}}) {
        auto c = tcase_create(name);
        tcase_set_timeout(c, 300);
        tcase_add_test(c, test);
        suite_add_tcase(s, c);
    }
    int code = test::run(s);
    Kernel::clean_up();
    return code;
}

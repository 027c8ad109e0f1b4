// SPDX-License-Identifier: Apache-2.0
//
// How the memory of executors is held to its limit: by the kernel, with a directory of files that
// plays the group, and by looking at resident sets.
#include "tests/unit/unit.h"

#include <unistd.h>

#include "lib/base/fd.h"
#include "runtime/launch/crowding.h"
#include "runtime/worker/memory.h"
#include "tests/unit/holder.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using dtask::test::Holder;
using dtask::test::mib;
using dtask::test::must;
using dtask::test::put;
using dtask::worker::Memory;

namespace {

/// A worker's group on v1 or v2, as the driver leaves it.
struct Group {
    explicit Group(int version) {
        layout.root = scratch.path();
        layout.check_magic = false;
        if (version == 1) {
            layout.mounts.push_back({"/", scratch / "memory", false, {"memory"}});
            self = {{4, {"memory"}, "/job_1/step_0/task_0"}};
            place = scratch / "memory/job_1/step_0/task_0/dtask";
        } else {
            layout.mounts.push_back({"/", scratch.path(), true, {}});
            self = {{0, {}, "/job_1/step_0/user/task_0"}};
            place = scratch / "job_1/step_0/user/task_0";
        }
        must(make_directories(place, 0700));
        put(place + "/cgroup.procs", "");
        put(place + (version == 1 ? "/memory.limit_in_bytes" : "/memory.high"),
            std::to_string(200 * mib) + "\n");
        put(place + (version == 1 ? "/memory.usage_in_bytes" : "/memory.current"), "12345\n");
        put(place + (version == 1 ? "/memory.max_usage_in_bytes" : "/memory.peak"),
            std::to_string(201 * mib) + "\n");
        if (version == 2) put(place + "/cpu.max", "max 100000\n");
        events = place + (version == 1 ? "/memory.oom_control" : "/memory.events");
        kills(0);
    }
    void kills(int n) {
        put(events, "oom_kill_disable 0\nunder_oom 0\noom_kill " + std::to_string(n) + "\n");
    }
    cgroup::WorkerGroup found() {
        auto group = must(cgroup::WorkerGroup::find(layout, self, {1, 0, 0}));
        ck_assert(group.has_value());
        return std::move(*group);
    }
    Memory memory(std::uint64_t told = 0, bool shared = false) {
        return Memory(found(), told, ::getppid(), shared);
    }

    test::Scratch scratch;
    cgroup::Layout layout;
    cgroup::Membership self;
    std::string place, events;
};

START_TEST(test_without_a_limit) {
    Memory memory({}, 0);
    ck_assert(!memory.needs_watch());
    ck_assert(memory.join_fds().empty());
    ck_assert_uint_eq(memory.limit(), 0);
    ck_assert(!memory.was_memory_kill(1));
    memory.forget_old_kills();
    ck_assert_uint_gt(memory.usage({::getpid()}), mib);
    ck_assert_uint_eq(memory.usage({}), 0);
}
END_TEST

// v1: the kernel enforces, the worker reads. What the kernel says is the limit.
START_TEST(test_v1_group) {
    Group group(1);
    auto memory = group.memory(999);
    ck_assert_uint_eq(memory.limit(), 200 * mib);
    ck_assert(!memory.needs_watch());
    ck_assert_uint_eq(memory.usage({::getpid()}), 12345);
    ck_assert_uint_eq(memory.peak(), 201 * mib);
    auto fds = memory.join_fds();
    ck_assert_uint_eq(fds.size(), 2);
    must(write_all(fds[0], "0"));
    ck_text_eq(must(read_file(group.place + "/cgroup.procs")), "0");
    ck_assert_int_eq(fds[1], -1); // no CPU limit
}
END_TEST

// v2: nothing to join, and the worker must kill before the kernel does.
START_TEST(test_v2_group) {
    Group group(2);
    auto memory = group.memory();
    ck_assert_uint_eq(memory.limit(), 200 * mib);
    ck_assert(memory.needs_watch());
    ck_assert(memory.join_fds().empty());
    ck_assert_uint_eq(memory.peak(), 201 * mib);
}
END_TEST

// v2: the group's counters say when, the families who.
START_TEST(test_v2_watch) {
    Group group(2);
    Holder small(8 * mib), large(16 * mib);
    auto memory = group.memory();
    std::vector<pid_t> both{small.pid(), large.pid()};
    auto used = [&](std::uint64_t bytes, std::uint64_t cached) {
        put(group.place + "/memory.current", std::to_string(bytes) + "\n");
        put(group.place + "/memory.stat", "anon 1\nactive_file " + std::to_string(cached) +
                                              "\ninactive_file 4096\nslab_reclaimable 0\n");
    };
    used(200 * mib, 0);
    ck_assert(!memory.over_limit(both));
    used(203 * mib, 4 * mib); // files, which the kernel takes back
    ck_assert(!memory.over_limit(both));
    used(203 * mib, mib);
    ck_assert(!memory.over_limit(both, {0, 10 * mib, 0, 0})); // values that can be moved
    ck_assert(memory.over_limit(both, {0, 10 * mib, 0, 10 * mib}) == large.pid());
    // Its memory has gone from its resident set and not yet from the group.
    auto pid = large.pid();
    large.end();
    ck_assert(memory.over_limit(both) == pid);
    ck_assert(memory.was_memory_kill(pid));
    ck_assert_uint_eq(memory.peak(), 202 * mib - 4096);
    ck_assert(!memory.over_limit({small.pid()}));
    // Once the group was below its limit, the next may die for it.
    used(100 * mib, 0);
    ck_assert(!memory.over_limit({small.pid()}));
    used(203 * mib, 0);
    ck_assert(memory.over_limit({small.pid()}) == small.pid());
    ck_assert(!Group(2).memory().over_limit({}));
}
END_TEST

// v2, in a task that has the client too: the executors have a part of the group's limit, and
// die for the whole only where most of it is theirs.
START_TEST(test_v2_watch_beside_the_client) {
    Group group(2);
    Holder holder(60 * mib);
    auto memory = group.memory(100 * mib, true);
    ck_assert_uint_eq(memory.limit(), 100 * mib);
    auto used = [&](std::uint64_t bytes) {
        put(group.place + "/memory.current", std::to_string(bytes) + "\n");
        put(group.place + "/memory.stat", "anon 1\n");
    };
    used(150 * mib);
    ck_assert(!memory.over_limit({holder.pid()}));
    used(201 * mib);
    ck_assert(!memory.over_limit({holder.pid()})); // the client's fault
    Holder more(60 * mib);
    ck_assert(memory.over_limit({holder.pid(), more.pid()}).has_value());
    used(150 * mib);
    auto small = group.memory(50 * mib, true);
    ck_assert(small.over_limit({holder.pid()}) == holder.pid()); // its own limit
    ck_assert_uint_eq(group.memory(300 * mib, true).limit(), 200 * mib);
}
END_TEST

START_TEST(test_each_kill_is_attributed_once) {
    for (int version : {1, 2}) {
        Group group(version);
        group.kills(3); // before we came
        auto memory = group.memory();
        ck_assert(!memory.was_memory_kill(100));
        group.kills(5);
        ck_assert(memory.was_memory_kill(100));
        ck_assert(memory.was_memory_kill(101));
        ck_assert(!memory.was_memory_kill(102));
        put(group.events, "nonsense");
        ck_assert(!memory.was_memory_kill(103));
    }
}
END_TEST

// v1: the group above was full, and the kernel took an executor of a worker that was not.
START_TEST(test_a_kill_below_the_limit) {
    Group group(1);
    auto memory = group.memory();
    auto peak = group.place + "/memory.max_usage_in_bytes";
    put(peak, std::to_string(60 * mib) + "\n");
    group.kills(1);
    ck_assert(memory.was_memory_kill(100));
    ck_assert(memory.was_below_limit());
    ck_assert_uint_eq(memory.peak(), 60 * mib);
    ck_assert(must(read_file(peak)).starts_with("0")); // the next one has a peak of its own
    ck_assert(!memory.was_memory_kill(101));
    ck_assert(!memory.was_below_limit());
    put(peak, std::to_string(200 * mib - 4096) + "\n"); // at the limit, but for a page
    group.kills(2);
    ck_assert(memory.was_memory_kill(102));
    ck_assert(!memory.was_below_limit());
    ck_assert_uint_eq(memory.peak(), 200 * mib - 4096);
}
END_TEST

// v2: the launcher's look at a task that client and worker share.
START_TEST(test_v2_crowded_by_the_client) {
    Group group(2);
    Holder client(80 * mib), scheduler(20 * mib);
    launch::Crowding crowding(group.found());
    launch::Crowding::Task task{client.pid(), scheduler.pid()};
    auto used = [&](std::uint64_t mb, std::uint64_t cached, std::uint64_t shared) {
        put(group.place + "/memory.current", std::to_string(mb * mib) + "\n");
        put(group.place + "/memory.stat", "shmem " + std::to_string(shared * mib) +
                                              "\nactive_file " + std::to_string(cached * mib) +
                                              "\n");
    };
    std::optional<launch::Crowding::Verdict> verdict;
    auto look = [&](int most) { // how often it took
        int looks = 0;
        for (verdict.reset(); looks < most && !verdict; looks++) verdict = crowding.look(task);
        return looks;
    };
    used(205, 0, 0); // slowly, but it gets on
    look(1000);
    ck_assert(!verdict);
    used(210, 20, 0); // files, which the kernel takes back
    look(1000);
    ck_assert(!verdict);
    used(210, 0, 0);
    look(3);
    ck_assert(!verdict); // an executor that is over may be dying
    used(150, 0, 0);
    look(1);
    used(210, 0, 0);
    look(3);
    ck_assert(!verdict);
    look(10);
    ck_assert(verdict.has_value());
    ck_assert((verdict->pids == worker::Pids{client.pid()}));
    ck_contains(verdict->why, "the client is killed: its task has used up its memory of 200M");
    ck_contains(verdict->why, "functions 0");
    // Values in shared memory may yet be moved, for some time.
    used(210, 0, 50);
    ck_assert_int_gt(look(1000), 20);
    ck_assert(verdict.has_value());
    // The scheduler, where it has more.
    used(210, 0, 0);
    std::swap(task.client, task.scheduler);
    look(10);
    ck_assert(verdict && verdict->why.starts_with("the scheduler is killed"));
    ck_assert((verdict->pids == worker::Pids{client.pid()}));
}
END_TEST

// What functions have is the worker's to see to.
START_TEST(test_v2_crowded_by_functions) {
    Group group(2);
    Holder client(20 * mib), executor(120 * mib);
    launch::Crowding crowding(group.found());
    put(group.place + "/memory.current", std::to_string(210 * mib) + "\n");
    put(group.place + "/memory.stat", "shmem 0\n");
    put("/proc/" + std::to_string(executor.pid()) + "/oom_score_adj", "1000");
    for (int n = 0; n < 100; n++) ck_assert(!crowding.look({client.pid(), 0}));
}
END_TEST

// The kernel took a child of the function; an executor that somebody kills a
// minute later did not die of that.
START_TEST(test_old_kills_are_forgotten) {
    Group group(1);
    auto memory = group.memory();
    memory.forget_old_kills();
    group.kills(1);
    memory.forget_old_kills(); // it may be of this moment
    ck_assert(memory.was_memory_kill(100));
    group.kills(3);
    memory.forget_old_kills();
    memory.forget_old_kills();
    ck_assert(!memory.was_memory_kill(101));
    group.kills(4);
    ck_assert(memory.was_memory_kill(102));
}
END_TEST

START_TEST(test_watch_takes_the_largest) {
    Holder small(20 * mib), large(60 * mib);
    Memory memory({}, 70 * mib);
    ck_assert(memory.needs_watch());
    ck_assert(!memory.over_limit({small.pid()}));
    ck_assert(!memory.over_limit({}));
    auto victim = memory.over_limit({small.pid(), large.pid()}); // the sum counts
    ck_assert(victim == large.pid());
    // Looked at again before it is gone: still one kill.
    ck_assert(memory.over_limit({small.pid(), large.pid()}) == large.pid());
    auto pid = large.pid();
    large.end();
    ck_assert(memory.was_memory_kill(pid));
    ck_assert_uint_ge(memory.peak(), 80 * mib);
    ck_assert(!memory.was_memory_kill(pid));
    ck_assert(!memory.over_limit({small.pid(), pid})); // one that has gone counts for nothing
    ck_assert(!memory.was_memory_kill(small.pid()));
}
END_TEST

// A later kill tells what was used then, not the most there has ever been.
START_TEST(test_peak_is_of_the_last_kill) {
    Memory memory({}, 30 * mib);
    pid_t first = 0;
    {
        Holder large(120 * mib);
        first = large.pid();
        ck_assert(memory.over_limit({first}) == first);
    }
    ck_assert(memory.was_memory_kill(first));
    ck_assert_uint_ge(memory.peak(), 120 * mib);
    Holder small(40 * mib);
    ck_assert(memory.over_limit({small.pid()}) == small.pid());
    ck_assert(memory.was_memory_kill(small.pid()));
    ck_assert_uint_ge(memory.peak(), 40 * mib);
    ck_assert_uint_lt(memory.peak(), 120 * mib);
}
END_TEST

// Values that can be moved are no reason to kill; others leave less room.
START_TEST(test_values_and_the_limit) {
    Holder small(20 * mib), large(40 * mib);
    std::vector<pid_t> both{small.pid(), large.pid()};
    Memory memory({}, 80 * mib);
    ck_assert(!memory.over_limit(both, {50 * mib, 50 * mib, 0, 0}));
    ck_assert(memory.over_limit(both, {50 * mib, 50 * mib, 0, 50 * mib}) == large.pid());
    ck_assert_uint_ge(memory.usage(both, {50 * mib, 50 * mib, 0, 0}), 110 * mib);
    // On v1 the group has what executors wrote, and not what the worker fetched.
    Group group(1);
    ck_assert_uint_eq(group.memory().usage(both, {9000, 9000, 5000, 0}), 12345 + 5000);
    // What it has of files is nothing to make room for.
    ck_assert_uint_ge(group.memory().needed(both, {mib, mib, 0, 0}), 61 * mib);
    ck_assert_uint_lt(group.memory().needed(both, {mib, mib, 0, 0}), 80 * mib);
}
END_TEST

Suite *suite() {
    auto s = suite_create("memory");
    auto c = tcase_create("memory");
    tcase_set_timeout(c, 20);
    for (auto test :
         {test_without_a_limit, test_v1_group, test_v2_group, test_v2_watch,
          test_v2_watch_beside_the_client, test_each_kill_is_attributed_once,
          test_a_kill_below_the_limit, test_v2_crowded_by_the_client, test_v2_crowded_by_functions,
          test_old_kills_are_forgotten, test_watch_takes_the_largest, test_values_and_the_limit,
          test_peak_is_of_the_last_kill})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
//
// How much memory whole families of processes hold, in which each page counts once, and who of
// them is killed for it.
#include "tests/unit/unit.h"

#include <csignal>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/fd.h"
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

// A value that two processes have mapped counts once, for the store.
START_TEST(test_mapped_values_count_once) {
    test::Scratch scratch;
    put(scratch / "value", std::string(60 * mib, 'v'));
    // What a process is without it: much, under a sanitizer.
    Fd value = must(open_file(scratch / "value", O_RDONLY));
    Holder without(4096, value.get());
    auto own = 2 * Memory({}, 0).usage({without.pid()});
    Holder one(60 * mib, value.get()), two(60 * mib, value.get());
    std::vector<pid_t> both{one.pid(), two.pid()};
    Memory memory({}, own + 70 * mib);
    ck_assert_uint_ge(memory.usage(both), 120 * mib); // of whoever has no store
    worker::SharedMemory shared{60 * mib, 60 * mib, 0, 0};
    ck_assert_uint_ge(memory.usage(both, shared), 60 * mib);
    ck_assert_uint_lt(memory.usage(both, shared), own + 70 * mib);
    ck_assert(!memory.over_limit(both, shared));
    // More than there are values is their own.
    shared.mappable = 20 * mib;
    ck_assert_uint_ge(memory.usage(both, shared), 140 * mib);
    ck_assert(memory.over_limit(both, shared).has_value());
}
END_TEST

/// A child that holds memory and forks `children` that share it and hold `each` of their own.
class Forker {
public:
    Forker(std::size_t bytes, int children, std::size_t each, bool orphan = false) {
        int ends[2];
        ck_assert_int_eq(::pipe(ends), 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::setpgid(0, 0);
            (void)hold(bytes);
            for (int n = 0; n < children; n++) {
                pid_t child = ::fork();
                if (child == 0 && orphan && ::fork() > 0) ::_exit(0);
                if (child == 0) {
                    (void)hold(each);
                    pid_t self = ::getpid();
                    (void)!::write(ends[1], &self, sizeof self);
                    for (;;) ::pause();
                }
                if (orphan) ::waitpid(child, nullptr, 0);
            }
            pid_t self = ::getpid();
            (void)!::write(ends[1], &self, sizeof self);
            for (;;) ::pause();
        }
        for (int n = 0; n <= children; n++) {
            pid_t told = 0;
            ck_assert_int_eq(::read(ends[0], &told, sizeof told), sizeof told);
            if (told != pid_) last_child_ = told;
        }
        ::close(ends[0]);
        ::close(ends[1]);
    }
    Forker(const Forker &) = delete;
    Forker &operator=(const Forker &) = delete;
    ~Forker() {
        ::kill(-pid_, SIGKILL);
        while (::waitpid(-pid_, nullptr, 0) > 0) {
        }
    }
    pid_t pid() const { return pid_; }
    pid_t last_child() const { return last_child_; }

private:
    static bool hold(std::size_t bytes) {
        return ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) != MAP_FAILED;
    }
    pid_t pid_ = 0, last_child_ = 0;
};

// What a function starts is the function's: the sum of all of them is held to the limit.
START_TEST(test_children_count) {
    Forker parent(10 * mib, 3, 20 * mib);
    Memory memory({}, 60 * mib);
    ck_assert_uint_ge(memory.usage({parent.pid()}), 70 * mib);
    ck_assert(memory.over_limit({parent.pid()}) == parent.pid());
    ck_assert(memory.was_memory_kill(parent.pid()));
    ck_assert_uint_ge(memory.peak(), 70 * mib);
}
END_TEST

// Four processes that have forked see the same 60 MiB: none may be killed for 240.
START_TEST(test_shared_pages_count_once) {
    Forker parent(60 * mib, 3, mib);
    auto own = Memory({}, 0).usage({::getpid()}); // shared as well, and much under a sanitizer
    Memory memory({}, 110 * mib + own);
    if (4 * 60 * mib > 110 * mib + own)
        ck_assert_uint_gt(memory.usage({parent.pid()}), memory.limit());
    for (int look = 0; look < 50; look++) ck_assert(!memory.over_limit({parent.pid()}));
    Memory tight({}, 50 * mib);
    ck_assert(tight.over_limit({parent.pid()}) == parent.pid());
}
END_TEST

// What executors were forked from counts once, with what they share.
START_TEST(test_what_was_loaded_before_counts_once) {
    ck_assert_int_eq(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    Forker nursery(120 * mib, 2, mib, true);
    auto own = Memory({}, 0).usage({::getpid()});
    pid_t executor = nursery.last_child();
    Memory memory({}, 90 * mib + own, ::getpid());
    bool more = memory.usage({executor}) > memory.limit();
    if (more) ck_assert(memory.over_limit({executor}).has_value());
    Memory knowing({}, 90 * mib + own, ::getpid());
    knowing.set_nursery(nursery.pid());
    for (int look = 0; look < 50; look++) ck_assert(!knowing.over_limit({executor}));
    // Who is over does not die for it, nor by it: an executor does.
    Memory tight({}, 30 * mib, ::getpid());
    tight.set_nursery(nursery.pid());
    auto victim = tight.over_limit({executor});
    ck_assert(victim && *victim != nursery.pid());
}
END_TEST

// What has lost its parent counts, and is killed itself where it has most.
START_TEST(test_what_is_left_behind_counts) {
    ck_assert_int_eq(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    Forker parent(mib, 1, 60 * mib, true);
    Memory memory({}, 50 * mib, ::getpid());
    ck_assert(memory.over_limit({parent.pid()}) == parent.last_child());
    ck_assert(!memory.was_memory_kill(parent.pid()));
    Memory enough({}, 500 * mib, ::getpid());
    ck_assert(!enough.over_limit({parent.pid()}));
}
END_TEST

// What is being killed already is nobody's to kill, and nothing new is killed for it.
START_TEST(test_what_is_ending) {
    ck_assert(!worker::is_ending(::getpid()));
    Holder one(mib);
    ck_assert(!worker::is_ending(one.pid()));
    ck_assert_int_eq(::kill(one.pid(), SIGKILL), 0);
    siginfo_t about{};
    ck_assert_int_eq(::waitid(P_PID, static_cast<id_t>(one.pid()), &about, WEXITED | WNOWAIT), 0);
    ck_assert(worker::is_ending(one.pid())); // not reaped yet
    auto pid = one.pid();
    one.end();
    ck_assert(worker::is_ending(pid));
}
END_TEST

Suite *suite() {
    auto s = suite_create("resident");
    auto c = tcase_create("resident");
    tcase_set_timeout(c, 20);
    for (auto test : {test_mapped_values_count_once, test_children_count,
                      test_shared_pages_count_once, test_what_was_loaded_before_counts_once,
                      test_what_is_left_behind_counts, test_what_is_ending})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

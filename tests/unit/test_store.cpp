// SPDX-License-Identifier: Apache-2.0
//
// What a worker keeps: the files of its values, the order in which they are
// moved to disk, and that moving disturbs nobody.
#include "tests/unit/unit.h"

#include <csignal>
#include <filesystem>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "runtime/worker/spill.h"
#include "runtime/worker/values.h"
#include "tests/unit/scratch.h"
#include "tests/unit/wait.h"

using namespace dtask;
using dtask::test::error_of;
using dtask::test::mib;
using dtask::test::must;
using dtask::test::settle;
using dtask::test::wait_for;
using dtask::worker::Spill;
using dtask::worker::Store;

namespace {

using Origin = Store::Origin;

/// A store in two directories of its own; what is "memory" is told, not asked.
struct Kept {
    test::Scratch memory, disk;
    Store store;

    Kept() {
        must(log::open("", log::Level::error, "/dev/null"));
        store = must(Store::open(place()));
    }
    Store::Place place() const { return {memory.path(), disk / "spill", true, 0}; }
    void add(std::uint64_t data, const std::string &bytes, Origin origin = Origin::executor) {
        must(replace_file(store.path_of(data), bytes, 0600));
        must(store.add(data, bytes.size(), origin));
    }
    std::string read(std::uint64_t data) {
        return must(read_all(must(store.open_value(data)).get(), 100 * mib));
    }
    std::set<std::string> spilled() const {
        std::set<std::string> names;
        for (const auto &entry : std::filesystem::directory_iterator(disk / "spill"))
            names.insert(entry.path().filename().string());
        return names;
    }
};

using Names = std::set<std::string>;

START_TEST(test_values_come_and_go) {
    Kept k;
    k.add(1, "one");
    k.add((std::uint64_t{1} << 53) - 1, "last", Origin::fetched);
    ck_assert((k.memory.names() == Names{"1", "9007199254740991"}));
    ck_assert_uint_eq(k.store.bytes(), 7);
    ck_assert_uint_eq(k.store.bytes_in_memory(), 7);
    ck_assert_uint_eq(k.store.bytes_fetched(), 4);
    ck_text_eq(k.read(1), "one");
    ck_contains(error_of(k.store.open_value(2)), "value 2 is not here");
    k.store.free(2);
    k.store.free((std::uint64_t{1} << 53) - 1);
    k.store.free(1);
    ck_assert(k.memory.names().empty());
    ck_assert_uint_eq(k.store.bytes() + k.store.bytes_in_memory() + k.store.bytes_fetched(), 0);
    ck_assert(!k.store.oldest());
}
END_TEST

// What an executor says is looked at.
START_TEST(test_values_that_are_none) {
    Kept k;
    ck_contains(error_of(k.store.add(1, 3, Origin::executor)), "/1: No such file");
    must(replace_file(k.store.path_of(1), "four", 0600));
    ck_contains(error_of(k.store.add(1, 3, Origin::executor)), "/1: no file of 3 bytes");
    ck_assert_int_eq(::symlink("/etc/passwd", k.store.path_of(2).c_str()), 0);
    auto size = std::filesystem::file_size("/etc/passwd");
    ck_contains(error_of(k.store.add(2, size, Origin::executor)), "/2: no file of");
    must(make_directories(k.store.path_of(3), 0700));
    ck_contains(error_of(k.store.add(3, 0, Origin::executor)), "/3: no file of");
    ck_assert(!k.store.has(1) && !k.store.has(2) && !k.store.has(3));
    Store none = must(Store::open({}));
    ck_assert(!none.keeps());
    ck_contains(error_of(none.add(1, 1, Origin::executor)), "keeps no values");
}
END_TEST

// What is there at the start was a dead worker's; the launcher's mark stays.
START_TEST(test_opens_empty) {
    Kept k;
    k.add(1, "one");
    must(replace_file(k.memory / "2.77", "unfinished", 0600));
    must(replace_file(k.memory / ".mark", "", 0600));
    must(make_directories(k.disk / "spill/x", 0700));
    auto again = must(Store::open(k.place()));
    ck_assert((k.memory.names() == Names{".mark"}));
    ck_assert(k.spilled().empty());
    ck_assert_uint_eq(again.bytes(), 0);
    ck_contains(error_of(Store::open({k.memory / "none", "", false, 0})), "store: ");
    ck_assert(!Store::is_memory("/proc"));
    ck_assert(!Store::is_memory(k.memory / "none"));
}
END_TEST

START_TEST(test_order_of_use) {
    Kept k;
    for (std::uint64_t data : {1, 2, 3}) k.add(data, "value");
    ck_assert_uint_eq(k.store.oldest()->data, 1);
    k.store.touch(1);
    ck_assert_uint_eq(k.store.oldest()->data, 2);
    (void)must(k.store.open_value(2));
    ck_assert_uint_eq(k.store.oldest()->data, 3);
    auto three = *k.store.oldest();
    ck_assert(k.store.holds(three));
    k.add(3, "again");
    ck_assert(!k.store.holds(three)); // another value of that number
    ck_assert_uint_eq(k.store.oldest()->data, 1);
    ck_assert_uint_eq(k.store.bytes(), 15);
    k.store.touch(9);
}
END_TEST

START_TEST(test_clears_up_after_executors) {
    Kept k;
    k.add(1, "one");
    for (auto name : {"1.50", "2.50", "2", "2.51", "3"})
        must(replace_file(k.memory / name, "x", 0600));
    k.store.clear_up(2, 50); // it was named, but not told
    ck_assert((k.memory.names() == Names{"1", "1.50", "2.51", "3"}));
    k.store.clear_up(1, 50); // it was told
    ck_assert((k.memory.names() == Names{"1", "2.51", "3"}));
    for (auto name : {"4.50", "4", "4.51"}) // memory had no room for it
        must(replace_file(k.disk / "spill" + "/" + name, "x", 0600));
    k.store.clear_up(4, 50);
    ck_assert((k.spilled() == Names{"4.51"}));
}
END_TEST

// What an executor has written to disk at once, since memory was full.
START_TEST(test_written_to_disk_at_once) {
    Kept k;
    ck_contains(error_of(k.store.add_spilled(1, 4)), "/1: No such file");
    must(replace_file(k.store.spilled_path_of(1), "four", 0600));
    ck_contains(error_of(k.store.add_spilled(1, 3)), "/1: no file of 3 bytes");
    ck_assert(!k.store.has(1) && k.memory.names().empty());
    must(k.store.add_spilled(1, 4));
    ck_text_eq(k.read(1), "four");
    ck_assert_uint_eq(k.store.bytes(), 4);
    ck_assert_uint_eq(k.store.bytes_in_memory(), 0);
    must(replace_file(k.store.spilled_path_of(1), "again", 0600)); // made once more
    must(k.store.add_spilled(1, 5));
    ck_text_eq(k.read(1), "again");
    ck_assert_uint_eq(k.store.bytes(), 5);
    k.add(2, "in memory");
    must(replace_file(k.store.spilled_path_of(2), "on disk", 0600));
    must(k.store.add_spilled(2, 7));
    ck_text_eq(k.read(2), "on disk");
    ck_assert_uint_eq(k.store.bytes_in_memory(), 0);
    k.store.free(1);
    k.store.free(2);
    ck_assert(k.spilled().empty() && k.memory.names().empty());
    auto on_disk = must(Store::open({k.memory.path(), "", false, 0}));
    ck_contains(error_of(on_disk.add_spilled(1, 4)), "moves no values to disk");
}
END_TEST

// Spill

START_TEST(test_spills_the_least_used) {
    Kept k;
    ev::Loop loop;
    Spill spill(loop, k.store);
    std::string bytes(3 * mib, 'a');
    for (std::uint64_t data : {1, 2, 3, 4}) k.add(data, bytes + std::to_string(data));
    k.store.touch(1);
    spill.make_room(7 * mib, 10 * mib); // 70 %: nothing to do
    ck_assert(!spill.busy());
    spill.make_room(7 * mib, 0); // no limit
    ck_assert(!spill.busy());

    auto before = must(k.store.open_value(3));
    k.store.touch(4);
    k.store.touch(1);
    auto *mapped = static_cast<char *>(
        ::mmap(nullptr, bytes.size() + 1, PROT_READ, MAP_SHARED, before.get(), 0));
    ck_assert(mapped != MAP_FAILED);
    spill.make_room(12 * mib, 10 * mib); // 5 MiB too much: two of them
    ck_assert(spill.busy());
    wait_for(loop, "two values on disk", [&] { return !spill.busy(); });
    ck_assert((k.spilled() == Names{"2", "3"}));
    ck_assert((k.memory.names() == Names{"1", "2", "3", "4"}));
    ck_assert(std::filesystem::is_symlink(k.store.path_of(2)));
    ck_assert_uint_eq(k.store.bytes_in_memory(), 6 * mib + 2);
    ck_assert_uint_eq(k.store.bytes(), 12 * mib + 4);
    ck_assert(k.read(2) == bytes + "2");
    ck_assert(k.read(3) == bytes + "3");
    // Whoever had it mapped before has it yet.
    ck_assert_int_eq(mapped[0], 'a');
    ck_assert_int_eq(mapped[bytes.size()], '3');
    ::munmap(mapped, bytes.size() + 1);

    k.store.free(2);
    k.add(3, "made again"); // its file takes the place of the link
    ck_assert(k.spilled().empty());
    ck_assert((k.memory.names() == Names{"1", "3", "4"}));
    ck_text_eq(k.read(3), "made again");
    ck_assert_uint_eq(k.store.bytes(), k.store.bytes_in_memory());
}
END_TEST

// A piece a turn: the worker answers meanwhile, and the value may be freed.
START_TEST(test_freed_while_it_is_moved) {
    Kept k;
    ev::Loop loop;
    Spill spill(loop, k.store);
    k.add(1, std::string(40 * mib, 'a'));
    k.add(2, std::string(mib, 'b'));
    spill.make_room(2 * mib, 2 * mib);
    wait_for(loop, "a part of it", [&] {
        return std::filesystem::exists(k.disk / "spill/1.part") &&
               std::filesystem::file_size(k.disk / "spill/1.part") > 0;
    });
    ck_assert(spill.busy() && !k.spilled().contains("1"));
    k.store.free(1);
    wait_for(
        loop, "the next", [&] { return !spill.busy(); }, 20'000);
    ck_assert((k.spilled() == Names{"2"}));
    ck_assert((k.memory.names() == Names{"2"}));
}
END_TEST

START_TEST(test_no_room_on_disk) {
    Kept k;
    ev::Loop loop;
    Spill spill(loop, k.store);
    std::string bytes(3 * mib, 'a');
    k.add(1, bytes);
    ::signal(SIGXFSZ, SIG_IGN);
    struct rlimit before {};
    ::getrlimit(RLIMIT_FSIZE, &before);
    struct rlimit small = before;
    small.rlim_cur = mib;
    ::setrlimit(RLIMIT_FSIZE, &small);
    spill.make_room(9 * mib, mib);
    wait_for(loop, "it to give up", [&] { return spill.resting(); });
    ::setrlimit(RLIMIT_FSIZE, &before);
    ck_assert(!spill.busy());
    ck_assert(k.spilled().empty());
    ck_assert(k.read(1) == bytes);
    ck_assert_uint_eq(k.store.bytes_in_memory(), 3 * mib);
    spill.make_room(9 * mib, mib); // not again for a while
    ck_assert(!spill.busy());
}
END_TEST

START_TEST(test_nowhere_to_spill_to) {
    test::Scratch memory;
    ev::Loop loop;
    for (auto place : {Store::Place{memory.path(), "", true, 0},
                       Store::Place{memory.path(), memory / "spill", false, 0}}) {
        auto store = must(Store::open(place));
        Spill spill(loop, store);
        must(replace_file(store.path_of(1), "value", 0600));
        must(store.add(1, 5, Origin::executor));
        ck_assert_uint_eq(store.bytes_in_memory(), place.in_memory ? 5 : 0);
        spill.make_room(9 * mib, mib);
        ck_assert(!spill.busy());
    }
}
END_TEST

// Where its file system is nearly full values are moved, whatever the limit.
START_TEST(test_makes_room_for_others) {
    Kept k;
    ev::Loop loop;
    auto place = k.place();
    place.reserve = 2; // more than there can be
    Store store = must(Store::open(place));
    ck_assert_uint_gt(store.shortage(), 0);
    Spill spill(loop, store);
    must(replace_file(store.path_of(1), "value", 0600));
    must(store.add(1, 5, Origin::executor));
    spill.make_room(0, 0);
    wait_for(loop, "it to be moved", [&] { return !spill.busy(); });
    ck_assert((k.spilled() == Names{"1"}));
}
END_TEST

// Inputs

START_TEST(test_load_call) {
    std::string wanted("\x80\x05"
                       "cdtask._store\nload\n"
                       "X\x08\0\0\0/s/\xc3\xbc/12\x85R.",
                       37);
    ck_assert(worker::load_call("/s/\xc3\xbc/12") == wanted);
    auto large = worker::load_call(std::string(0x1234, 'x'));
    ck_assert(large.substr(22, 4) == std::string("\x34\x12\0\0", 4));
}
END_TEST

Suite *suite() {
    auto s = suite_create("store");
    auto c = tcase_create("store");
    tcase_set_timeout(c, 60);
    for (auto test :
         {test_values_come_and_go, test_values_that_are_none, test_opens_empty, test_order_of_use,
          test_clears_up_after_executors, test_written_to_disk_at_once, test_spills_the_least_used,
          test_freed_while_it_is_moved, test_no_room_on_disk, test_nowhere_to_spill_to,
          test_makes_room_for_others, test_load_call})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
//
// What launchers that were killed have left, and who removes what of it. tests/slurm/leftovers.bats
// proves the same on real Slurm.
#include "tests/unit/unit.h"

#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "spank/leftovers.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using namespace dtask::spank;

namespace {

namespace fs = std::filesystem;

void touch(const std::string &path) { std::ofstream(path) << "x"; }

/// As Scratch::make of a launcher does.
std::string directory(const std::string &path, mode_t mode = 0700) {
    fs::create_directory(path);
    touch(path + "/.dtask-scratch");
    ck_assert_int_eq(::chmod(path.c_str(), mode), 0);
    return path;
}

Leftovers of(const test::Scratch &base) {
    return {::geteuid(), ::getegid(), 7, 0, {1, 2}, {base / "not-there", base.path()}};
}

START_TEST(test_removes_those_of_the_step) {
    test::Scratch base;
    auto one = directory(base / "dtask-7.0-1-abcdef");
    directory(base / "dtask-7.0-2-ghijkl");
    fs::create_directories(one + "/spill/below/it");
    touch(one + "/spill/below/it/file");
    touch(one + "/5");
    ck_assert_int_eq(::mkfifo((one + "/pipe").c_str(), 0600), 0);
    for (auto other : {"dtask-7.0-3-abcdef", "dtask-7.1-1-abcdef", "dtask-77.0-1-abcdef",
                       "dtask-7.0-1", "dtask-7.0-x-abcdef", "dtask-7.0-1-a-b", "other"})
        directory(base / other);
    remove_leftovers(of(base));
    ck_assert_uint_eq(base.names().size(), 7);
    ck_assert(!fs::exists(one));
    remove_leftovers(of(base));
    ck_assert_uint_eq(base.names().size(), 7);
}
END_TEST

START_TEST(test_follows_no_link) {
    test::Scratch base, elsewhere;
    directory(elsewhere / "precious");
    fs::create_symlink(elsewhere / "precious", base / "dtask-7.0-1-abcdef");
    auto own = directory(base / "dtask-7.0-2-abcdef");
    fs::create_symlink(elsewhere / "precious", own + "/link");
    fs::create_symlink(elsewhere / "precious/.dtask-scratch", own + "/file");
    remove_leftovers(of(base));
    ck_assert(fs::exists(elsewhere / "precious/.dtask-scratch"));
    ck_assert(fs::is_symlink(base / "dtask-7.0-1-abcdef"));
    ck_assert(!fs::exists(own));
}
END_TEST

START_TEST(test_leaves_what_is_held_or_is_no_launchers) {
    test::Scratch base;
    auto held = directory(base / "dtask-7.0-1-abcdef");
    directory(base / "dtask-7.0-1-public", 0755);
    fs::create_directory(base / "dtask-7.0-1-nomark");
    ck_assert_int_eq(::chmod((base / "dtask-7.0-1-nomark").c_str(), 0700), 0);
    touch(base / "dtask-7.0-1-afile_");
    auto lock = test::must(open_file(held + "/.dtask-scratch", O_RDWR));
    ck_assert_int_eq(::flock(lock.get(), LOCK_EX | LOCK_NB), 0);
    remove_leftovers(of(base));
    ck_assert_uint_eq(base.names().size(), 4);
    lock.reset();
    remove_leftovers(of(base));
    ck_assert(!fs::exists(held));
    ck_assert_uint_eq(base.names().size(), 3);
}
END_TEST

START_TEST(test_root_becomes_the_user) {
    test::Scratch base;
    auto roots = directory(base / "dtask-7.0-1-abcdef");
    auto what = of(base);
    if (::geteuid() != 0) {
        // Who may become nobody does nothing.
        remove_leftovers_as_user(what, 10'000);
        ck_assert(fs::exists(roots));
        return;
    }
    const passwd *nobody = ::getpwnam("nobody");
    ck_assert(nobody != nullptr);
    ck_assert_int_eq(::chmod(base.path().c_str(), 01777), 0);
    auto users = directory(base / "dtask-7.0-2-abcdef");
    for (const auto &path : {users + "/.dtask-scratch", users})
        ck_assert_int_eq(::chown(path.c_str(), nobody->pw_uid, nobody->pw_gid), 0);
    // Nobody may not even look into root's.
    touch(users + "/roots-file");
    what.uid = nobody->pw_uid;
    what.gid = nobody->pw_gid;
    remove_leftovers_as_user(what, 10'000);
    ck_assert(fs::exists(roots + "/.dtask-scratch"));
    ck_assert(!fs::exists(users));
    what.uid = static_cast<uid_t>(-1); // Slurm has not told whose they are
    remove_leftovers_as_user(what, 10'000);
    ck_assert(fs::exists(roots));
}
END_TEST

Suite *suite() {
    auto s = suite_create("leftovers");
    auto c = tcase_create("leftovers");
    tcase_add_test(c, test_removes_those_of_the_step);
    tcase_add_test(c, test_follows_no_link);
    tcase_add_test(c, test_leaves_what_is_held_or_is_no_launchers);
    tcase_add_test(c, test_root_becomes_the_user);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

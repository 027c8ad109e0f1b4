// SPDX-License-Identifier: Apache-2.0
//
// lib/base but for spawn: numbers and names, the environment, files, the log.
#include "tests/unit/unit.h"

#include <algorithm>
#include <csignal>
#include <deque>
#include <map>
#include <unordered_set>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/env.h"
#include "lib/base/fd.h"
#include "lib/base/few.h"
#include "lib/base/ids.h"
#include "lib/base/line.h"
#include "lib/base/log.h"
#include "lib/base/net.h"
#include "lib/base/paged.h"
#include "lib/base/strings.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using dtask::test::error_of;
using dtask::test::must;

namespace {

START_TEST(test_split_and_trim) {
    ck_assert((split("a,b", ',') == std::vector<std::string_view>{"a", "b"}));
    ck_assert((split("", ',') == std::vector<std::string_view>{""}));
    ck_assert((split(",", ',') == std::vector<std::string_view>{"", ""}));
    ck_text_eq(trim(" \ta b\r\n"), "a b");
    ck_text_eq(trim(" \n"), "");
}
END_TEST

START_TEST(test_parse_uint) {
    ck_assert(parse_uint("0") == 0);
    ck_assert(parse_uint("007") == 7);
    ck_assert(parse_uint("18446744073709551615") == UINT64_MAX);
    ck_assert(parse_uint("65535", 65535) == 65535);
    for (auto text : {"", " 8", "8 ", "8x", "+8", "-8", "0x8", "1e3", "18446744073709551616"})
        ck_assert_msg(!parse_uint(text), "\"%s\" was taken", text);
    ck_assert(!parse_uint("65536", 65535));
    ck_assert(!parse_uint(std::string_view("8\0", 2)));
}
END_TEST

START_TEST(test_parse_size) {
    ck_assert(parse_size("1K") == 1024);
    ck_assert(parse_size("500M") == 524288000);
    ck_assert(parse_size("2g") == std::uint64_t{2} << 30);
    ck_assert(parse_size("1TiB") == std::uint64_t{1} << 40);
    ck_assert(parse_size("1kb") == 1024);
    ck_assert(parse_size("50", 1 << 20) == 50 << 20);
    ck_assert(parse_size("50K", 1 << 20) == 50 << 10);
    ck_assert(parse_size("16777215T") == std::uint64_t{16777215} << 40);
    for (auto text : {"", "M", "50", "2X", "-1M", "1.5G", "1 M", "1Mx", "1MiBs", "16777216T",
                      "18446744073709551616K", "1\x0bK"})
        ck_assert_msg(!parse_size(text), "\"%s\" was taken", text);
}
END_TEST

START_TEST(test_format_size) {
    ck_text_eq(format_size(0), "0");
    ck_text_eq(format_size(1023), "1023");
    ck_text_eq(format_size(1024), "1K");
    ck_text_eq(format_size(1536), "1.5K");
    ck_text_eq(format_size(209715200), "200M");
    ck_text_eq(format_size((1 << 20) - 1), "1.0M"); // not "1024.0K"
    ck_text_eq(format_size(std::uint64_t{3} << 40), "3T");
    ck_text_eq(format_size(UINT64_MAX), "16E");
}
END_TEST

START_TEST(test_hex) {
    std::string all;
    for (int c = 0; c < 256; c++) all += static_cast<char>(c);
    ck_assert(from_hex(to_hex(all)) == all);
    ck_text_eq(to_hex("\x01\xfe"), "01fe");
    ck_assert(from_hex("fFAb") == "\xff\xab");
    ck_assert(from_hex("") == "");
    for (auto text : {"1", "0g", "0x", " 0", "00 "})
        ck_assert_msg(!from_hex(text), "\"%s\" was taken", text);
}
END_TEST

START_TEST(test_first_host) {
    struct {
        const char *list, *first;
    } rows[]{{"n3", "n3"},       {"n[3-5,9],m1", "n3"},  {"n[03-05]", "n03"},
             {"n[7]", "n7"},     {"n[1,2]-ib", "n1-ib"}, {"a[1-2]b[3-4],c", "a1b3"},
             {"m1,n[1-2]", "m1"}};
    for (auto &row : rows) {
        auto first = first_host(row.list);
        ck_assert_msg(first == row.first, "%s: %s", row.list, first.value_or("none").c_str());
    }
    for (auto text : {"", ",a", "n[1", "n1]", "n[[1]]", "[", "]"})
        ck_assert_msg(!first_host(text), "\"%s\" was taken", text);
}
END_TEST

START_TEST(test_ids) {
    ck_assert(TaskId{1} < TaskId{2});
    std::unordered_set<TaskId> some{TaskId{1}, TaskId{2}, TaskId{1}};
    ck_assert_uint_eq(some.size(), 2);
    static_assert(!std::is_convertible_v<TaskId, WorkerId>);
    static_assert(!std::is_convertible_v<std::uint64_t, TaskId>);
}
END_TEST

START_TEST(test_env) {
    const char *block[]{"A=1", "B=", "A=2", "=x", "nonsense", "C=a=b", nullptr};
    auto env = Env::from(block);
    ck_text_eq(*env.get("A"), "1");
    ck_text_eq(*env.get("B"), "");
    ck_text_eq(*env.get("C"), "a=b");
    ck_assert(!env.get(""));
    ck_assert(!env.get("D"));
    ck_text_eq(env.get_or("D", "d"), "d");
    env.set("A", "3");
    env.set("PMIX_RANK", "0");
    env.set("PMI_FD", "7");
    env.set("PM", "x");
    env.unset("C");
    env.unset("not there");
    env.unset_prefix("PMI");
    ck_assert((env.strings() == std::vector<std::string>{"A=3", "B=", "PM=x"}));
    ck_assert(Env::from(nullptr).strings().empty());

    ::setenv("DTASK_TEST_VARIABLE", "here", 1);
    ck_text_eq(Env::current().get_or("DTASK_TEST_VARIABLE", ""), "here");
}
END_TEST

START_TEST(test_error_context) {
    Result<int> inner = fail("what");
    ck_text_eq(error_of(Result<std::string>(fail_from(std::move(inner), "where"))), "where: what");
    ck_text_eq(error_of(Result<void>(fail_errno("f", ENOENT))), "f: No such file or directory");
}
END_TEST

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

START_TEST(test_fd_owns) {
    Fd one(::open("/dev/null", O_RDONLY)), two(::open("/dev/null", O_RDONLY));
    int a = one.get(), b = two.get();
    one = std::move(two);
    ck_assert(!is_open(a));
    ck_assert_int_eq(one.get(), b);
    ck_assert(!two);
    Fd &same = one;
    one = std::move(same);
    ck_assert(is_open(b));
    { Fd third(std::move(one)); }
    ck_assert(!is_open(b));
    Fd fourth(::open("/dev/null", O_RDONLY));
    int kept = fourth.release();
    fourth.reset();
    ck_assert(is_open(kept));
    ::close(kept);
}
END_TEST

START_TEST(test_read_files) {
    test::Scratch scratch;
    ck_contains(error_of(read_file(scratch / "none")), "none: No such file");
    must(replace_file(scratch / "ten", "0123456789", 0600));
    ck_text_eq(must(read_file(scratch / "ten", 10)), "0123456789");
    ck_contains(error_of(read_file(scratch / "ten", 9)), "ten: longer than 9 bytes");
    auto fd = must(open_file(scratch / "ten", O_RDONLY));
    ck_assert(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC);
    auto directory = must(open_file(scratch.path(), O_RDONLY | O_DIRECTORY));
    ck_text_eq(must(read_all(must(open_at(directory.get(), "ten", O_RDONLY)).get())), "0123456789");
    ck_contains(error_of(read_all(directory.get())), "read: Is a directory");
}
END_TEST

START_TEST(test_write_all_reports) {
    ::signal(SIGPIPE, SIG_IGN);
    int ends[2];
    ck_assert_int_eq(::pipe(ends), 0);
    ::close(ends[0]);
    Fd write_end(ends[1]);
    ck_contains(error_of(write_all(write_end.get(), "x")), "Broken pipe");
    must(write_all(write_end.get(), ""));
}
END_TEST

mode_t mode_of(const std::string &path) {
    struct stat about {};
    ck_assert_int_eq(::stat(path.c_str(), &about), 0);
    return about.st_mode & 07777;
}

START_TEST(test_replace_file) {
    test::Scratch scratch;
    ::umask(0);
    must(replace_file(scratch / "f", "one", 0600));
    ck_assert_uint_eq(mode_of(scratch / "f"), 0600);
    auto before = must(open_file(scratch / "f", O_RDONLY));
    must(replace_file(scratch / "f", "two", 0640));
    ck_assert_uint_eq(mode_of(scratch / "f"), 0640);
    ck_text_eq(must(read_file(scratch / "f")), "two");
    // Who had it open still sees the old one, whole.
    ck_text_eq(must(read_all(before.get())), "one");
    ck_assert(scratch.names() == std::set<std::string>{"f"});
}
END_TEST

START_TEST(test_replace_file_leaves_nothing) {
    test::Scratch scratch;
    ck_contains(error_of(replace_file(scratch / "no/f", "x", 0600)), "No such file or directory");
    ck_assert(scratch.names().empty());

    must(replace_file(scratch / "f", "old", 0600));
    ck_assert_int_eq(::mkdir((scratch / "d").c_str(), 0700), 0);
    ck_contains(error_of(replace_file(scratch / "d", "x", 0600)), "Is a directory");

    // A full disk: no file of this process may grow beyond 4 KiB.
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    ck_assert_int_eq(::getrlimit(RLIMIT_FSIZE, &before), 0);
    rlimit small{4096, before.rlim_max};
    ck_assert_int_eq(::setrlimit(RLIMIT_FSIZE, &small), 0);
    ck_contains(error_of(replace_file(scratch / "f", std::string(8192, 'x'), 0600)),
                "File too large");
    ck_assert_int_eq(::setrlimit(RLIMIT_FSIZE, &before), 0); // its counters are files, too
    ck_text_eq(must(read_file(scratch / "f")), "old");
    ck_assert((scratch.names() == std::set<std::string>{"d", "f"}));
}
END_TEST

START_TEST(test_make_directories) {
    test::Scratch scratch;
    ::umask(0);
    must(make_directories(scratch / "a/b/c", 0700));
    ck_assert_uint_eq(mode_of(scratch / "a"), 0700);
    ck_assert_uint_eq(mode_of(scratch / "a/b/c"), 0700);
    must(make_directories(scratch / "a/b/c", 0755));
    ck_assert_uint_eq(mode_of(scratch / "a/b/c"), 0700);
    must(make_directories("/", 0700));
    must(replace_file(scratch / "file", "", 0600));
    ck_contains(error_of(make_directories(scratch / "file/d", 0700)), "Not a directory");
}
END_TEST

START_TEST(test_log) {
    test::Scratch scratch;
    auto path = scratch / "log";
    must(log::open("worker n2.3", log::Level::info, path));
    log::debug("not this");
    log::info("came");
    log::warning("hm");
    log::error("no");
    ck_text_eq(must(read_file(path)), "dtask: info: worker n2.3: came\n"
                                      "dtask: warning: worker n2.3: hm\n"
                                      "dtask: worker n2.3: no\n");
    ck_assert_uint_eq(mode_of(path), 0600);
    must(log::open("", log::Level::error, path));
    log::error("appended");
    ck_contains(must(read_file(path)), "no\ndtask: appended\n");
    // A link laid in its way is not followed.
    ck_assert_int_eq(::symlink(path.c_str(), (scratch / "link").c_str()), 0);
    ck_contains(error_of(log::open("", log::Level::error, scratch / "link")), "log: ");
}
END_TEST

START_TEST(test_net) {
    ck_text_eq(must(resolve("127.0.0.1")), "127.0.0.1");
    ck_text_eq(must(resolve("::1")), "::1");
    ck_contains(error_of(resolve("")), ": ");
    ck_text_eq(join_address("10.0.0.1", 80), "10.0.0.1:80");
    ck_text_eq(join_address("fe80::1", 80), "[fe80::1]:80");
    auto none = error_of(interface_address("none0"));
    ck_contains(none, "no such interface");
    ck_contains(none, host_name().c_str());
    if (auto loopback = interface_address("lo")) { // a sandbox may have none
        ck_text_eq(*loopback, "127.0.0.1");
        ck_contains(none, "lo");
    }
}
END_TEST

START_TEST(test_clock) {
    SteadyClock clock;
    auto first = clock.now_us();
    ck_assert_int_gt(first, 0);
    ck_assert_int_ge(clock.now_us(), first);
}
END_TEST

// Values stay where they are while others come and go, and go with their map.
START_TEST(test_paged) {
    Paged<TaskId, std::shared_ptr<int>, 4> map;
    auto one = std::make_shared<int>(1);
    for (std::uint64_t n : {0, 1, 2, 3, 4, 1000, 7}) ck_assert(map.emplace(TaskId{n}, one).second);
    auto *kept = map.find(TaskId{3});
    ck_assert(!map.emplace(TaskId{3}, nullptr).second && *kept == one);
    ck_assert(!map.find(TaskId{5}) && !map.find(TaskId{999}) && !map.contains(TaskId{1004}));
    for (std::uint64_t n : {4, 0, 1, 2, 4, 5}) map.erase(TaskId{n});
    ck_assert(map.find(TaskId{3}) == kept && !map.find(TaskId{4}) && map.find(TaskId{7}));
    std::set<std::uint64_t> left;
    map.each([&](TaskId id, const std::shared_ptr<int> &) { left.insert(id.value); });
    ck_assert((left == std::set<std::uint64_t>{3, 7, 1000}));
    ck_assert_uint_eq(map.size(), 3);
    ck_assert_int_eq(one.use_count(), 4);
    map.erase(TaskId{3}); // the last of its page, which comes again
    ck_assert(!map.find(TaskId{3}) && map.emplace(TaskId{3}, one).second);
    map = {};
    ck_assert(map.empty() && one.use_count() == 1);
}
END_TEST

// Numbers that are far apart and many, against std::map.
START_TEST(test_paged_is_a_map) {
    Paged<std::uint64_t, std::uint64_t, 2> map;
    std::map<std::uint64_t, std::uint64_t> same;
    std::uint64_t state = 1;
    for (int n = 0; n < 20'000; n++) {
        state = state * 6364136223846793005 + 1442695040888963407;
        auto key = (state >> 40) % 3 * 1'000'000 + (state >> 50) % 700;
        if ((state >> 33) % 2) {
            map.emplace(key, state);
            same.emplace(key, state);
        } else {
            map.erase(key);
            same.erase(key);
        }
        auto *value = map.find(key);
        ck_assert(value ? *value == same.at(key) : !same.contains(key));
        if (n % 1'000) continue;
        std::map<std::uint64_t, std::uint64_t> seen;
        map.each([&](std::uint64_t k, std::uint64_t v) { seen.emplace(k, v); });
        ck_assert(seen == same && map.size() == same.size());
    }
}
END_TEST

START_TEST(test_line) {
    Line<int> line;
    std::deque<int> same;
    for (int n = 0; n < 3'000; n++) {
        line.push_back(n);
        same.push_back(n);
        // Fewer leave than come, then more; mostly the first.
        for (int left = n % 2 + (n > 1'500); left > 0 && !same.empty(); left--) {
            auto place = n % 7 ? 0 : same.size() / 2;
            line.erase(line.begin() + place);
            same.erase(same.begin() + static_cast<std::ptrdiff_t>(place));
        }
        ck_assert(std::ranges::equal(line, same) && line.size() == same.size());
        ck_assert(std::equal(line.rbegin(), line.rend(), same.rbegin(), same.rend()));
        ck_assert(line.empty() == same.empty() && (line.empty() || line[0] == same[0]));
        auto moved = std::move(line);
        ck_assert(line.empty() && line.size() == 0 && moved.size() == same.size());
        line = std::move(moved);
    }
}
END_TEST

START_TEST(test_few) {
    Few<TaskId, 2> two;
    two.push_back({1});
    two.push_back({2});
    auto moved = std::move(two);
    moved.push_back({3});
    ck_assert(moved.size() == 3 && moved.begin()[1] == TaskId{2} && moved.back() == TaskId{3});
    Few<TaskId> few;
    ck_assert(few.empty() && few.begin() == few.end());
    std::vector<TaskId> same;
    for (std::uint64_t n = 1; n < 100; n++) {
        few.push_back({n});
        same.push_back({n});
        ck_assert(std::ranges::equal(few, same) && few.back() == same.back());
    }
    Few<TaskId> other;
    other.push_back({7});
    std::swap(few, other);
    ck_assert(few.size() == 1 && few.back() == TaskId{7} && std::ranges::equal(other, same));
    other = std::exchange(few, {});
    ck_assert(few.empty() && other.size() == 1);
    other.clear();
    ck_assert(other.empty());
}
END_TEST

START_TEST(test_bytes) {
    for (std::size_t n :
         {std::size_t{0}, std::size_t{1}, Bytes::within, Bytes::within + 1, std::size_t{100'000}}) {
        std::string text(n, 'x');
        Bytes bytes(text);
        ck_assert(bytes.view() == text && bytes.empty() == text.empty());
        Bytes other("y");
        std::swap(bytes, other);
        ck_assert(bytes.view() == "y" && other.view() == text);
        other.clear();
        ck_assert(other.empty() && other.view().empty());
    }
}
END_TEST

Suite *suite() {
    auto s = suite_create("base");
    auto c = tcase_create("base");
    tcase_add_test(c, test_paged);
    tcase_add_test(c, test_paged_is_a_map);
    tcase_add_test(c, test_line);
    tcase_add_test(c, test_few);
    tcase_add_test(c, test_bytes);
    tcase_add_test(c, test_split_and_trim);
    tcase_add_test(c, test_parse_uint);
    tcase_add_test(c, test_parse_size);
    tcase_add_test(c, test_format_size);
    tcase_add_test(c, test_hex);
    tcase_add_test(c, test_first_host);
    tcase_add_test(c, test_ids);
    tcase_add_test(c, test_env);
    tcase_add_test(c, test_error_context);
    tcase_add_test(c, test_fd_owns);
    tcase_add_test(c, test_read_files);
    tcase_add_test(c, test_write_all_reports);
    tcase_add_test(c, test_replace_file);
    tcase_add_test(c, test_replace_file_leaves_nothing);
    tcase_add_test(c, test_make_directories);
    tcase_add_test(c, test_log);
    tcase_add_test(c, test_net);
    tcase_add_test(c, test_clock);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

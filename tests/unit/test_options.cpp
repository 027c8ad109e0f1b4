// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <array>
#include <cctype>
#include <set>

#include "lib/model/keyvalue.h"
#include "lib/model/options.h"

using namespace dtask;
using namespace dtask::model;
using dtask::test::error_of;
using dtask::test::must;

namespace {

struct Bad {
    const char *name, *value, *problem;
};

constexpr std::array bad{
    Bad{"dtask", "bogus", "not an engine"},
    Bad{"dtask", "Native", "not an engine"},
    Bad{"dtask", "native ", "not an engine"},
    Bad{"dtask", "", "not an engine"},
    Bad{"dtask-slots", "pack", "not a mode"},
    Bad{"dtask-slots", "", "not a mode"},
    Bad{"dtask-memory", "2X", "not a size"},
    Bad{"dtask-memory", "500", "not a size"},
    Bad{"dtask-memory", "-1G", "not a size"},
    Bad{"dtask-memory", "+1G", "not a size"},
    Bad{"dtask-memory", " 1G", "not a size"},
    Bad{"dtask-memory", "1.5G", "not a size"},
    Bad{"dtask-memory", "1GG", "not a size"},
    Bad{"dtask-memory", "G", "not a size"},
    Bad{"dtask-memory", "0x10M", "not a size"},
    Bad{"dtask-memory", "99999999999999999999G", "not a size"},
    Bad{"dtask-memory", "18446744073709551615K", "not a size"},
    Bad{"dtask-memory", "0M", "out of range"},
    Bad{"dtask-memory", "1K", "out of range"},
    Bad{"dtask-memory", "2000T", "out of range"},
    Bad{"dtask-memory", "", "not a size"},
    Bad{"dtask-cpus", "2", "not a mode"},
    Bad{"dtask-interface", "", "not an interface name"},
    Bad{"dtask-interface", "a b", "not an interface name"},
    Bad{"dtask-interface", "eth0/1", "not an interface name"},
    Bad{"dtask-interface", "..", "not an interface name"},
    Bad{"dtask-interface", "sixteen-letters-", "not an interface name"},
    Bad{"dtask-interface", "sched=eth0,worker=", "not an interface name"},
    Bad{"dtask-interface", "eth0,eth1", "neither sched=IF nor worker=IF"},
    Bad{"dtask-interface", "client=eth0", "neither sched=IF nor worker=IF"},
    Bad{"dtask-interface", "sched=a,sched=b", "one role stands twice"},
    Bad{"dtask-scratch", "tmp", "not an absolute path"},
    Bad{"dtask-scratch", "", "not an absolute path"},
    Bad{"dtask-scratch", "/tmp/\n", "has a control character"},
    Bad{"dtask-scheduler-file", "", "empty"},
    Bad{"dtask-scheduler-file", "a%", "an unknown % pattern"},
    Bad{"dtask-scheduler-file", "a%q", "an unknown % pattern"},
    Bad{"dtask-scheduler-file", "a%5", "an unknown % pattern"},
    Bad{"dtask-wait", "-1", "not a whole number"},
    Bad{"dtask-wait", "some", "not a whole number"},
    Bad{"dtask-wait", "1000001", "out of range"},
    Bad{"dtask-timeout", "0", "out of range"},
    Bad{"dtask-timeout", "86401", "out of range"},
    Bad{"dtask-timeout", "1.5", "not a whole number"},
    Bad{"dtask-timeout", "10s", "not a whole number"},
    Bad{"dtask-restarts", "1001", "out of range"},
    Bad{"dtask-restarts", "18446744073709551616", "not a whole number"},
    Bad{"dtask-concurrency", "0", "out of range"},
    Bad{"dtask-concurrency", "1025", "out of range"},
    Bad{"dtask-concurrency", "", "not a whole number"},
    Bad{"dtask-report", "", "empty"},
    Bad{"dtask-report", "%x.html", "an unknown % pattern"},
    Bad{"dtask-report", "a\nb", "has a control character"},
    Bad{"dtask-preload", "", "not a module's name"},
    Bad{"dtask-preload", "a,,b", "not a module's name"},
    Bad{"dtask-preload", "a;b", "not a module's name"},
    Bad{"dtask-preload", "a.1b", "not a module's name"},
    Bad{"dtask-log", "%", "an unknown % pattern"},
};

START_TEST(test_bad_value) {
    const auto &b = bad[static_cast<std::size_t>(_i)];
    Options options;
    auto text = error_of(parse(options, b.name, b.value));
    ck_contains(text, b.problem);
    ck_contains(text, (std::string("--") + b.name + "=").c_str());
    ck_contains(text, "; accepted: ");
    ck_assert_msg(text.find('\n') == text.npos, "more than one line: %s", text.c_str());
    ck_assert_msg(options == Options{}, "a refused value changed the options");
}
END_TEST

START_TEST(test_exact_line) {
    Options options;
    ck_text_eq(error_of(parse(options, "dtask-memory", "2X")),
               "--dtask-memory=2X: not a size; accepted: auto, none, or a number with K, M, G or "
               "T, as 500M");
    ck_text_eq(error_of(parse(options, *find_key("slots"), "x", Source::environment)),
               "DTASK_SLOTS=x: not a mode; accepted: packed, dedicated or overlap");
    ck_text_eq(error_of(parse(options, *find_key("slots"), "x", Source::admin)),
               "plugstack.conf: slots=x: not a mode; accepted: packed, dedicated or overlap");
    ck_text_eq(error_of(parse(options, "dtask-nope", "1")), "--dtask-nope: no such option");
}
END_TEST

START_TEST(test_long_value_is_cut) {
    Options options;
    auto text = error_of(parse(options, "dtask-wait", std::string(100'000, 'x')));
    ck_assert_uint_lt(text.size(), 400);
}
END_TEST

START_TEST(test_good_values) {
    Options o;
    must(parse(o, "dtask", "dask"));
    must(parse(o, "dtask-slots", "overlap"));
    must(parse(o, "dtask-memory", "2G"));
    must(parse(o, "dtask-cpus", "quota"));
    must(parse(o, "dtask-interface", "worker=ib0"));
    must(parse(o, "dtask-scratch", "/scratch dir"));
    must(parse(o, "dtask-scheduler-file", "x/%J-%5t%%.json"));
    must(parse(o, "dtask-wait", "all"));
    must(parse(o, "dtask-timeout", "1"));
    must(parse(o, "dtask-restarts", "0"));
    must(parse(o, "dtask-concurrency", "16"));
    must(parse(o, "dtask-log", "%N.log"));
    ck_assert(o.engine == Engine::dask);
    ck_assert(o.slots == SlotMode::overlap);
    ck_assert_uint_eq(o.memory.bytes, std::uint64_t{2} << 30);
    ck_assert(o.cpus == CpuMode::quota);
    ck_text_eq(o.scheduler_interface, "");
    ck_text_eq(o.worker_interface, "ib0");
    ck_assert(o.wait.all);
    ck_assert(must(options_from_text(to_text(o))) == o);
    must(parse(o, "dtask-interface", "eth0"));
    ck_text_eq(o.scheduler_interface, "eth0");
    must(parse(o, "dtask-memory", "none"));
    must(parse(o, "dtask-wait", "0"));
    ck_assert_uint_eq(o.wait.count, 0);
    ck_assert(must(options_from_text(to_text(o))) == o);
}
END_TEST

START_TEST(test_sizes_are_binary) {
    struct {
        const char *text;
        std::uint64_t bytes;
        const char *written;
    } sizes[]{{"500M", 500ull << 20, "500M"},
              {"500m", 500ull << 20, "500M"},
              {"1024M", 1ull << 30, "1G"},
              {"1025M", 1025ull << 20, "1025M"},
              {"4K", 4096, "4K"},
              {"1T", 1ull << 40, "1T"},
              {"1024T", 1ull << 50, "1024T"},
              {"50MB", 50ull << 20, "50M"}};
    for (auto &size : sizes) {
        Options o;
        must(parse(o, "dtask-memory", size.text));
        ck_assert_uint_eq(o.memory.bytes, size.bytes);
        ck_text_eq(value_of(o, *find_key("memory")), size.written);
    }
}
END_TEST

START_TEST(test_text_round_trip_of_odd_bytes) {
    Options o;
    o.scratch = "/a=b %41 \xc3\xa4 'x'\"";
    o.log = "100%%";
    ck_assert(must(options_from_text(to_text(o))) == o);
}
END_TEST

START_TEST(test_bad_text) {
    for (const char *text :
         {"slots", "=x", "nope=1\n", "slots=packed\nslots=packed\n", "slots=%zz", "slots=a%4",
          "memory=2X", "wait=\n", "slots=packed\n\nwait=1", "Slots=packed", "scratch=%00"}) {
        auto result = options_from_text(text);
        ck_assert_msg(!result, "accepted: %s", text);
    }
    ck_assert(must(options_from_text("")) == Options{});
}
END_TEST

START_TEST(test_text_errors_hide_values) {
    auto text = error_of(options_from_text("slots=secret123\n"));
    ck_assert(!test::contains(text, "secret123"));
}
END_TEST

START_TEST(test_table) {
    std::set<std::string_view> names, twins, keys;
    for (const auto &option : option_table()) {
        ck_assert(names.insert(option.name).second);
        ck_assert(twins.insert(option.twin).second);
        ck_assert(keys.insert(option.key).second);
        ck_assert(find_option(option.name) == &option);
        ck_assert(find_key(option.key) == &option);
        // One name, in three spellings: scripts/manual counts on it.
        std::string twin = "DTASK", key = &option == &option_table()[0] ? "engine" : "";
        for (char c : option.name.substr(5)) {
            c = c == '-' ? '_' : c;
            twin += static_cast<char>(std::toupper(c));
            key += c;
        }
        ck_text_eq(option.twin, twin);
        ck_text_eq(key.starts_with('_') ? key.substr(1) : key, option.key);
        // What is written must be read again.
        Options o;
        auto value = value_of(o, option);
        if (!value.empty()) must(parse(o, option, value));
    }
    ck_assert_uint_eq(names.size(), 16);
    ck_text_eq(option_table()[0].name, "dtask");
    ck_assert(option_table()[0].argument_optional);
}
END_TEST

START_TEST(test_twins) {
    Env env;
    env.set("DTASK_SLOTS", "overlap");
    env.set("DTASK_WAIT", "");
    env.set("DTASK_ENGINE", "nonsense"); // a client's variable, no twin
    env.set("DTASK", "nonsense");        // not parse_twins' to judge
    Options o;
    must(parse_twins(o, env));
    ck_assert(o.slots == SlotMode::overlap);
    ck_assert_uint_eq(o.wait.count, 1);
    env.set("DTASK_TIMEOUT", "soon");
    ck_contains(error_of(parse_twins(o, env)), "DTASK_TIMEOUT=soon: not a whole number");
}
END_TEST

START_TEST(test_clients_scheduler_file_is_no_twin) {
    Env env;
    env.set("DTASK_SCHEDULER_FILE", "/home/u/.dtask/7.0.json");
    const auto &option = *find_key("scheduler_file");
    ck_assert(twin(env, option).has_value());
    env.set("DTASK_TOKEN", "x");
    ck_assert(!twin(env, option).has_value());
    env.set("DTASK_SLOTS", "packed");
    ck_assert(twin(env, *find_key("slots")).has_value());
}
END_TEST

Suite *suite() {
    auto s = suite_create("options");
    auto c = tcase_create("options");
    tcase_add_loop_test(c, test_bad_value, 0, static_cast<int>(bad.size()));
    tcase_add_test(c, test_exact_line);
    tcase_add_test(c, test_long_value_is_cut);
    tcase_add_test(c, test_good_values);
    tcase_add_test(c, test_sizes_are_binary);
    tcase_add_test(c, test_text_round_trip_of_odd_bytes);
    tcase_add_test(c, test_bad_text);
    tcase_add_test(c, test_text_errors_hide_values);
    tcase_add_test(c, test_table);
    tcase_add_test(c, test_twins);
    tcase_add_test(c, test_clients_scheduler_file_is_no_twin);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

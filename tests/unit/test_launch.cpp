// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include "lib/base/strings.h"
#include "lib/model/launch.h"

using namespace dtask;
using namespace dtask::model;
using dtask::test::error_of;
using dtask::test::must;

namespace {

const std::string token(64, 'a');

LaunchSpec spec() {
    LaunchSpec s;
    s.token = token;
    s.job = 7;
    s.step = 0xfffffff0;
    s.rank = 3;
    s.ntasks = 4;
    s.local_rank = 1;
    s.local_ntasks = 2;
    s.cpus_per_task = 4;
    s.node = "n2";
    s.scheduler_node = "n1";
    s.scheduler_host = "fe80::1%eth0";
    s.nodelist = "n[1-2]";
    s.first_port = 20000;
    s.last_port = 29999;
    s.worker_memory = UINT64_MAX;
    s.worker_cpu_quota_us = 400'000;
    s.worker_cpus = 4;
    s.cgroup_root = "/cg";
    s.submit_dir = "/home/\xc3\xa4 b=c%\nd\t";
    s.argv0 = "./my prog%20";
    s.options.engine = Engine::dask;
    s.options.memory = {MemoryOption::size, 1 << 30};
    s.options.log = "%N.log";
    return s;
}

/// The text of spec() with one line replaced; an empty one drops it.
std::string with(std::string_view key, std::string_view line) {
    std::string whole = to_text(spec()), text;
    for (auto old : split(whole, '\n')) {
        if (old.empty()) continue;
        if (old.substr(0, old.find('=')) == key) old = line;
        if (!old.empty()) text.append(old).append("\n");
    }
    return text;
}

START_TEST(test_round_trip) {
    ck_assert(must(launch_from_text(to_text(spec()))) == spec());
    auto plain = spec();
    plain.scheduler_host = plain.argv0 = plain.nodelist = "";
    plain.first_port = plain.last_port = 0;
    ck_assert(must(launch_from_text(to_text(plain))) == plain);
}
END_TEST

START_TEST(test_missing) {
    for (const char *key : {"token", "job", "step", "rank", "ntasks", "local_rank", "local_ntasks",
                            "node", "scheduler_node"})
        ck_text_eq(error_of(launch_from_text(with(key, ""))),
                   (std::string(key) + ": missing").c_str());
}
END_TEST

START_TEST(test_wrong) {
    struct {
        const char *key, *line;
    } rows[]{{"rank", "rank=4"},
             {"rank", "rank=-1"},
             {"rank", "rank=1 "},
             {"rank", "rank="},
             {"rank", "rank=4294967296"},
             {"ntasks", "ntasks=1"},
             {"local_rank", "local_rank=2"},
             {"local_ntasks", "local_ntasks=5"},
             {"cpus_per_task", "cpus_per_task=0"},
             {"worker_cpus", "worker_cpus=5"},
             {"node", "node="},
             {"node", "node=../x"},
             {"scheduler_node", "scheduler_node=a b"},
             {"scheduler_host", "scheduler_host=a/b"},
             {"first_port", "first_port=65536"},
             {"first_port", "first_port=0"},
             {"first_port", "first_port=30000"},
             {"token", "token="},
             {"token", "token=zz"},
             {"option_slots", "option_slots=x"},
             {"option_slots", "option_nope=x"},
             {"argv0", "argv0=%zz"},
             {"argv0", "argv0=%0"},
             {"argv0", "argv0=%00"},
             {"argv0", "nope=1"},
             {"argv0", "noequals"},
             {"argv0", "rank=3"}};
    for (auto &row : rows) {
        auto result = launch_from_text(with(row.key, row.line));
        ck_assert_msg(!result, "accepted: %s", row.line);
    }
    ck_assert(!launch_from_text(""));
    auto nul = with("nodelist", "nodelist=n@1");
    must(launch_from_text(nul));
    nul[nul.find('@')] = '\0'; // it could not be written back
    ck_contains(error_of(launch_from_text(nul)), "a NUL");
}
END_TEST

START_TEST(test_errors_hide_the_token) {
    std::string secret = "0123456789abcdefSECRET";
    for (auto &line : {"token=" + secret, "token=" + secret + "%zz", "tok=" + secret,
                       "rank=" + secret, "option_slots=" + secret, secret}) {
        auto text = error_of(launch_from_text(with("token", line)));
        ck_assert_msg(!test::contains(text, "SECRET"), "%s", text.c_str());
    }
}
END_TEST

START_TEST(test_is_token) {
    ck_assert(is_token(token));
    ck_assert(!is_token(token + "a"));
    ck_assert(!is_token(token.substr(1)));
    ck_assert(!is_token(std::string(64, 'A')));
    ck_assert(!is_token(std::string(63, 'a') + '\n'));
}
END_TEST

Suite *suite() {
    auto s = suite_create("launch");
    auto c = tcase_create("launch");
    tcase_add_test(c, test_round_trip);
    tcase_add_test(c, test_missing);
    tcase_add_test(c, test_wrong);
    tcase_add_test(c, test_errors_hide_the_token);
    tcase_add_test(c, test_is_token);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

// SPDX-License-Identifier: Apache-2.0
//
// plugstack.conf, the precedence of all sources, and the hand-over to the nodes.
#include "tests/unit/unit.h"

#include <set>

#include "lib/model/launch.h"
#include "lib/model/site.h"
#include "spank/handover.h"
#include "spank/options.h"

using namespace dtask;
using namespace dtask::spank;
using dtask::test::error_of;
using dtask::test::must;

namespace {

Result<model::Site> parse(std::vector<const char *> words) {
    return model::parse_site(words, "/default");
}

START_TEST(test_good) {
    auto site = must(parse({"slots=overlap", "memory=2G", "interface=sched=eth0,worker=ib0",
                            "ports=20000-20010", "launcher=/opt/dtaskd", "cgroup_root=/cg"}));
    ck_assert(site.options.slots == model::SlotMode::overlap);
    ck_text_eq(site.options.worker_interface, "ib0");
    ck_assert_uint_eq(site.first_port, 20000);
    ck_assert_uint_eq(site.last_port, 20010);
    ck_text_eq(site.launcher, "/opt/dtaskd");
    ck_text_eq(site.cgroup_root, "/cg");
    ck_assert_uint_eq(must(parse({"ports=7"})).last_port, 7);
    auto empty = must(parse({}));
    ck_text_eq(empty.launcher, "/default");
    ck_text_eq(empty.cgroup_root, "/sys/fs/cgroup");
    ck_assert(empty.options == model::Options{});
}
END_TEST

START_TEST(test_bad) {
    for (const char *word : {"slots",
                             "",
                             "=x",
                             "slots=",
                             "slots=x",
                             "nope=1",
                             "Slots=packed",
                             "memory=2X",
                             "engine=off",
                             "engine=spark",
                             "ports=",
                             "ports=0",
                             "ports=0-5",
                             "ports=9-8",
                             "ports=1-",
                             "ports=-5",
                             "ports=1-65536",
                             "ports=1-2-3",
                             "ports=a-b",
                             "launcher=",
                             "launcher=dtaskd",
                             "launcher=/a\nb",
                             "cgroup_root=cg",
                             "engines=",
                             "engines=spark",
                             "engines=native,native",
                             "engines=off",
                             "interfaces=",
                             "interfaces=auto",
                             "interfaces=a/b",
                             "interfaces=ib0,",
                             "interfaces=sched=ib0",
                             "max_workers=0",
                             "max_workers=-1",
                             "max_workers=many",
                             "syslog=",
                             "syslog=yes",
                             "dtask-slots=packed"}) {
        auto text = error_of(parse({word}));
        ck_contains(text, "plugstack.conf: ");
        ck_contains(text, word);
        ck_contains(text, "; accepted: ");
    }
    ck_contains(error_of(parse({"slots=packed", "slots=overlap"})), "stands twice");
    ck_contains(error_of(parse({"nope=1"})), "max_workers or syslog");
}
END_TEST

START_TEST(test_what_a_site_permits) {
    model::Options options;
    auto any = must(parse({}));
    options.engine = model::Engine::dask;
    options.worker_interface = "eth7";
    ck_assert(model::permit(any, options));
    ck_assert(model::permit(any, model::Plan{model::SlotMode::packed, 9000, 1, 8999}));

    auto site = must(parse({"engines=native", "interfaces=ib0,ib1", "max_workers=8", "syslog=on"}));
    ck_assert(site.syslog);
    ck_text_eq(error_of(model::permit(site, options)),
               "--dtask=dask: not at this site; accepted: native");
    options.engine = model::Engine::native;
    ck_text_eq(error_of(model::permit(site, options)),
               "--dtask-interface=eth7: not at this site; accepted: auto, ib0, ib1");
    options.worker_interface = "ib1";
    ck_assert(model::permit(site, options));
    options.scheduler_interface = "eth0";
    ck_contains(error_of(model::permit(site, options)), "--dtask-interface=eth0: ");
    options.scheduler_interface.clear();
    options.engine = model::Engine::off;
    ck_assert(model::permit(site, options));
    ck_assert(model::permit(site, model::Plan{model::SlotMode::packed, 9, 1, 8}));
    ck_text_eq(error_of(model::permit(site, model::Plan{model::SlotMode::packed, 10, 1, 9})),
               "--dtask: 9 workers, more than this site lets a step have; accepted: at most 8");

    ck_assert(must(parse({"engines=dask", "engine=dask"})).engines.contains(model::Engine::dask));
    // The order of the words is nobody's business.
    must(parse({"interface=ib0", "interfaces=ib0"}));
    ck_contains(error_of(parse({"engines=dask"})),
                "its defaults: --dtask=native: not at this site");
    ck_contains(error_of(parse({"interface=ib0", "interfaces=eth0"})),
                "its defaults: --dtask-interface=ib0: not at this site");
}
END_TEST

constexpr std::size_t dtask_option = 0, slots_option = 1, memory_option = 2;

std::optional<model::Options> resolve(const Given &given, const Env &env = {},
                                      std::vector<const char *> words = {}) {
    return must(given.resolve(must(parse(words)), env));
}

START_TEST(test_not_asked) {
    Given given;
    ck_assert(!resolve(given));
    Env env;
    env.set("DTASK_SLOTS", "nonsense"); // not looked at
    ck_assert(!resolve(given, env));
    given.take(slots_option, "overlap");
    ck_assert(!resolve(given, env));
    ck_text_eq(given.first_other().value_or(""), "--dtask-slots=overlap");
}
END_TEST

START_TEST(test_no_value_in_its_three_forms) {
    for (const char *none : {static_cast<const char *>(nullptr), "", "(null)"}) {
        Given given;
        given.take(dtask_option, none);
        ck_assert(given.asked());
        auto options = resolve(given);
        ck_assert(options && options->engine == model::Engine::native);
        // The callback may come twice.
        given.take(dtask_option, none);
        ck_assert(resolve(given).has_value());
    }
}
END_TEST

START_TEST(test_off) {
    Given given;
    given.take(dtask_option, nullptr);
    given.take(dtask_option, "off");
    ck_assert(!resolve(given));
    ck_assert(given.refused());
    given.take(dtask_option, nullptr); // and on again, with the default engine
    auto options = resolve(given);
    ck_assert(options && options->engine == model::Engine::native);
    Env env;
    env.set("DTASK", "off");
    ck_assert(resolve(given, env).has_value()); // the command line outranks it
    ck_assert(!resolve(Given{}, env));
}
END_TEST

START_TEST(test_precedence) {
    Given given;
    given.take(dtask_option, nullptr);
    Env env;
    std::vector<const char *> site{"slots=dedicated", "memory=1G", "engine=dask", "restarts=9"};
    auto options = resolve(given, env, site);
    ck_assert(options->slots == model::SlotMode::dedicated);
    ck_assert(options->engine == model::Engine::dask);
    env.set("DTASK_SLOTS", "overlap");
    env.set("DTASK", "native");
    options = resolve(given, env, site);
    ck_assert(options->slots == model::SlotMode::overlap);
    ck_assert(options->engine == model::Engine::native);
    ck_assert_uint_eq(options->restarts, 9);
    given.take(slots_option, "dedicated"); // #SBATCH
    given.take(slots_option, "packed");    // command line
    given.take(dtask_option, "dask");
    env.set("DTASK_SLOTS", "nonsense"); // has no effect, so it does not matter
    options = resolve(given, env, site);
    ck_assert(options->slots == model::SlotMode::packed);
    ck_assert(options->engine == model::Engine::dask);
}
END_TEST

START_TEST(test_asked_by_the_environment) {
    Env env;
    env.set("DTASK", "dask");
    auto options = resolve(Given{}, env);
    ck_assert(options && options->engine == model::Engine::dask);
    env.set("DTASK", "");
    ck_assert(!resolve(Given{}, env));
    env.set("DTASK", "1");
    ck_text_eq(error_of(Given{}.resolve(model::Site{}, env)),
               "DTASK=1: not an engine; accepted: native, dask or off");
}
END_TEST

START_TEST(test_wrong_values) {
    Given given;
    given.take(memory_option, "2X");
    // Refused even where --dtask is not there to use it.
    ck_contains(error_of(given.resolve(model::Site{}, {})), "--dtask-memory=2X: not a size");
    given.take(memory_option, "(null)"); // only --dtask may go without a value
    ck_contains(error_of(given.resolve(model::Site{}, {})), "--dtask-memory=(null): not a size");
    given.take(memory_option, nullptr);
    ck_contains(error_of(given.resolve(model::Site{}, {})), "--dtask-memory=: not a size");
    given.take(99, "x"); // no such option: ignored
    Given asked;
    asked.take(dtask_option, nullptr);
    Env env;
    env.set("DTASK_WAIT", "x");
    ck_contains(error_of(asked.resolve(model::Site{}, env)), "DTASK_WAIT=x: ");
}
END_TEST

START_TEST(test_handover) {
    Handover handover;
    handover.options.slots = model::SlotMode::overlap;
    handover.scheduler_host = "10.0.0.1";
    auto text = to_text(handover);
    auto back = must(handover_from_text(text));
    ck_assert(back.options == handover.options);
    ck_text_eq(back.scheduler_host, "10.0.0.1");
    for (const char *bad : {"x", "nope=1", "slots=x", "slots=packed\nslots=packed",
                            "scheduler_host=%zz", "scheduler_host=a\nscheduler_host=b"})
        ck_assert_msg(!handover_from_text(bad), "accepted: %s", bad);
}
END_TEST

START_TEST(test_tokens_differ) {
    std::set<std::string> seen;
    for (int i = 0; i < 100; i++) {
        auto token = must(make_token());
        ck_assert(model::is_token(token));
        ck_assert(seen.insert(token).second);
    }
}
END_TEST

Suite *suite() {
    auto s = suite_create("site");
    auto c = tcase_create("site");
    tcase_add_test(c, test_good);
    tcase_add_test(c, test_bad);
    tcase_add_test(c, test_what_a_site_permits);
    tcase_add_test(c, test_not_asked);
    tcase_add_test(c, test_no_value_in_its_three_forms);
    tcase_add_test(c, test_off);
    tcase_add_test(c, test_precedence);
    tcase_add_test(c, test_asked_by_the_environment);
    tcase_add_test(c, test_wrong_values);
    tcase_add_test(c, test_handover);
    tcase_add_test(c, test_tokens_differ);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

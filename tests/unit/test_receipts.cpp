// SPDX-License-Identifier: Apache-2.0
//
// Receipts: what has ended and may not have been told lies beside its client's journal when the
// cluster is lost, and the next run finds it there.
#include "tests/unit/unit.h"

#include <filesystem>

#include "lib/base/fd.h"
#include "lib/base/log.h"
#include "lib/base/strings.h"
#include "runtime/ensemble/journal.h"
#include "runtime/worker/receipts.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using dtask::ensemble::Counter;
using dtask::ensemble::Journal;
using dtask::test::must;
using dtask::worker::Receipts;

namespace {

/// A journal that has nothing yet.
std::string empty_journal(const test::Scratch &scratch, const char *name) {
    auto path = scratch / name;
    must(must(Journal::open(path, false)).sync());
    return path;
}

START_TEST(test_they_lie_beside_their_journal) {
    test::Scratch scratch;
    auto one = empty_journal(scratch, "one"), other = empty_journal(scratch, "other");
    Counter counter;
    auto a = counter.next("a"), b = counter.next("b"), c = counter.next("c");
    Receipts receipts;
    receipts.add(1, one, to_hex(a), "a's");
    receipts.add(2, other, to_hex(b), "b's");
    receipts.add(1, one, to_hex(c), "c's");
    receipts.add(1, "", to_hex(a), "of a client without one");
    receipts.add(1, one, "", "without a digest");
    receipts.add(1, one, "no hex", "with a wrong one");
    receipts.write("n1.0");
    auto journal = must(Journal::open(one, true));
    ck_text_eq(journal.take_left(a).value_or(""), "a's");
    ck_text_eq(journal.take_left(c).value_or(""), "c's");
    ck_assert(!journal.take_left(b));
    ck_text_eq(must(Journal::open(other, true)).take_left(b).value_or(""), "b's");
    // They were written once.
    std::filesystem::remove(one + ".from-n1.0");
    receipts.write("n1.0");
    ck_assert(!std::filesystem::exists(one + ".from-n1.0"));
}
END_TEST

START_TEST(test_what_its_client_knows_is_forgotten) {
    test::Scratch scratch;
    auto path = empty_journal(scratch, "journal");
    Counter counter;
    auto a = counter.next("a"), b = counter.next("b");
    Receipts receipts;
    receipts.add(1, path, to_hex(a), "a's");
    receipts.add(2, path, to_hex(b), "b's");
    receipts.forget(1);
    receipts.write("n1.0");
    auto journal = must(Journal::open(path, true));
    ck_assert(!journal.take_left(a));
    ck_text_eq(journal.take_left(b).value_or(""), "b's");
}
END_TEST

// However much commands write, a worker keeps no more of it than this; but always the last.
START_TEST(test_they_are_bounded) {
    test::Scratch scratch;
    auto path = empty_journal(scratch, "journal");
    Counter counter;
    auto a = counter.next("a"), b = counter.next("b");
    Receipts receipts;
    receipts.add(1, path, to_hex(a), std::string(1 << 20, 'a'));
    receipts.add(1, path, to_hex(b), std::string(Receipts::most_bytes, 'b'));
    receipts.write("n1.0");
    auto journal = must(Journal::open(path, true));
    ck_assert(!journal.take_left(a));
    ck_assert_uint_eq(journal.take_left(b).value_or("").size(), Receipts::most_bytes);
}
END_TEST

START_TEST(test_a_journal_that_is_out_of_reach) {
    test::Scratch scratch;
    must(log::open("", log::Level::info, scratch / "log"));
    Counter counter;
    Receipts receipts;
    receipts.add(1, "/no/such/directory/journal", to_hex(counter.next("a")), "a's");
    receipts.write("n1.0");
    auto said = must(read_file(scratch / "log"));
    ck_contains(said, "what has ended is not noted: ");
    ck_contains(said, "/no/such/directory");
}
END_TEST

} // namespace

int main() {
    Suite *suite = suite_create("receipts");
    TCase *cases = tcase_create("receipts");
    tcase_set_timeout(cases, 60);
    for (auto test : {test_they_lie_beside_their_journal, test_what_its_client_knows_is_forgotten,
                      test_they_are_bounded, test_a_journal_that_is_out_of_reach})
        tcase_add_test(cases, test);
    suite_add_tcase(suite, cases);
    return test::run(suite);
}

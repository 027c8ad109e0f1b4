// SPDX-License-Identifier: Apache-2.0
//
// What an ensemble is made of: placeholders, inputs, the journal, the job log, progress.
#include "tests/unit/unit.h"

#include <filesystem>

#include <fcntl.h>

#include "lib/base/fd.h"
#include "runtime/cli/map.h"
#include "runtime/ensemble/inputs.h"
#include "runtime/ensemble/joblog.h"
#include "runtime/ensemble/journal.h"
#include "runtime/ensemble/progress.h"
#include "runtime/ensemble/template.h"
#include "tests/unit/scratch.h"

using namespace dtask;
using namespace dtask::ensemble;
using dtask::test::error_of;
using dtask::test::must;

namespace {

using Words = std::vector<std::string>;
using Mode = Template::Shell;

std::string joined(const Words &words, const char *between = "|") {
    std::string text;
    for (const auto &word : words) text.append(text.empty() ? "" : between).append(word);
    return text;
}

Template made(const Words &command, Mode mode = Mode::if_needed, const Words &columns = {},
              std::size_t width = 0) {
    return must(Template::parse(command, columns, width, mode, "/bin/sh"));
}

std::string expanded(const std::string &text, const Words &values, const Words &columns = {}) {
    return must(Text::parse(text, columns, values.size())).expand({7, values});
}

START_TEST(test_placeholders) {
    const Words one{"dir/sub/file.tar.gz"};
    ck_text_eq(expanded("{}", one), "dir/sub/file.tar.gz");
    ck_text_eq(expanded("{.}", one), "dir/sub/file.tar");
    ck_text_eq(expanded("{/}", one), "file.tar.gz");
    ck_text_eq(expanded("{//}", one), "dir/sub");
    ck_text_eq(expanded("{/.}", one), "file.tar");
    ck_text_eq(expanded("{#}-{%}", one), "7-{%}");
    ck_text_eq(expanded("a{}b{}c", {"x"}), "axbxc");
    ck_text_eq(expanded("{}", {"x", "y z"}), "x y z");
    ck_text_eq(expanded("{2} {1} {-1}", {"x", "y"}), "y x y");
    ck_text_eq(expanded("{2/.}", {"x", "/d/y.c"}), "y");
    ck_text_eq(expanded("{speed}/{case.}", {"a.nml", "9"}, {"case", "speed"}), "9/a");
    // What is none stays.
    ck_text_eq(expanded("{a} {1,2} ${} {{}} {+} {", {"x"}), "{a} {1,2} $x {x} {+} {");
    ck_contains(error_of(Text::parse("{3}", {}, 2)), "{3}: the inputs have 2 values");
    ck_text_eq(must(Text::parse("[{3}]", {}, 0)).expand({1, {"a"}}), "[]");
}
END_TEST

START_TEST(test_changes_at_the_edges) {
    ck_text_eq(changed("file", "."), "file");
    ck_text_eq(changed("dir.d/file", "."), "dir.d/file");
    ck_text_eq(changed("file", "//"), ".");
    ck_text_eq(changed("/file", "//"), "/");
    ck_text_eq(changed("", "."), "");
    ck_text_eq(changed("", "/"), "");
}
END_TEST

START_TEST(test_arguments_are_the_programs) {
    ck_text_eq(joined(made({"prog", "-x", "{}"}).argv({1, {"a b"}})), "prog|-x|a b");
    ck_text_eq(joined(made({"prog"}).argv({1, {"a b"}})), "prog|a b");
    ck_text_eq(joined(made({"prog", "{#}"}).argv({4, {"v"}})), "prog|4");
    ck_text_eq(joined(made({"awk", "{print $1}", "{}"}).argv({1, {"f"}})), "awk|{print $1}|f");
    ck_text_eq(joined(made({"prog", "a|b"}, Mode::never).argv({1, {"*"}})), "prog|a|b|*");
    ck_text_eq(made({"prog", "a b", "{}"}).line({1, {"c d"}}), "prog 'a b' 'c d'");
}
END_TEST

START_TEST(test_a_line_goes_to_a_shell_only_where_it_must) {
    ck_text_eq(joined(made({"prog -x {}"}).argv({1, {"a b"}})), "prog|-x|a b");
    ck_text_eq(joined(made({"  prog  "}).argv({1, {"*"}})), "prog|*");
    ck_text_eq(joined(made({"prog {} > {.}.out"}).argv({1, {"a b.c"}})),
               "/bin/sh|-c|prog 'a b.c' > 'a b'.out");
    ck_text_eq(joined(made({"X=1 prog"}).argv({1, {"a"}})), "/bin/sh|-c|X=1 prog a");
    ck_text_eq(joined(made({"cd {}"}).argv({1, {"a"}})), "/bin/sh|-c|cd a");
    ck_text_eq(joined(made({"echo {}", "|", "wc"}).argv({1, {"it's"}})),
               "/bin/sh|-c|echo 'it'\\''s' | wc");
    ck_text_eq(joined(made({"echo", "a;", "echo", "{}"}).argv({1, {"b"}})),
               "/bin/sh|-c|echo a; echo b");
    ck_text_eq(joined(made({"echo", "{}"}, Mode::always).argv({1, {""}})), "/bin/sh|-c|echo ''");
    ck_text_eq(joined(made({"echo {}; id"}, Mode::never).argv({1, {"a"}})), "echo a; id");
}
END_TEST

START_TEST(test_rows_may_be_the_commands) {
    auto rows = made({});
    ck_text_eq(joined(rows.argv({1, {"prog a  b"}})), "prog|a|b");
    ck_text_eq(joined(rows.argv({1, {"prog a | wc"}})), "/bin/sh|-c|prog a | wc");
    ck_text_eq(rows.line({1, {"prog a"}}), "prog a");
}
END_TEST

Inputs words(const Words &arguments, bool link = false) {
    return must(Inputs::read(must(parse_sources(arguments)), {}, link));
}

std::string rows_of(const Inputs &inputs) {
    std::string text;
    for (std::uint64_t n = 1; n <= inputs.size(); n++)
        text += (n > 1 ? "|" : "") + joined(inputs.row(n).values, " ");
    return text;
}

START_TEST(test_sources_are_combined) {
    ck_text_eq(rows_of(words({":::", "a", "b"})), "a|b");
    ck_text_eq(rows_of(words({":::", "a", "b", ":::", "1", "2"})), "a 1|a 2|b 1|b 2");
    ck_text_eq(rows_of(words({":::", "a", "b", ":::+", "1", "2", "3"})), "a 1|b 2");
    ck_text_eq(rows_of(words({":::", "a", "b", ":::+", "1", "2", ":::", "x", "y"})),
               "a 1 x|a 1 y|b 2 x|b 2 y");
    ck_text_eq(rows_of(words({":::", "a", "b", "c", ":::", "1", "2"}, true)), "a 1|b 2|c 1");
    ck_text_eq(rows_of(words({":::"})), "");
    ck_text_eq(rows_of(words({":::", "a", ":::"})), "");
    ck_contains(error_of(parse_sources({":::+", "a"})), "no input before it");
    ck_contains(error_of(parse_sources({"::::+"})), "no input before it");
}
END_TEST

START_TEST(test_inputs_of_files) {
    test::Scratch scratch;
    auto put = [&](const std::string &name, const std::string &text) {
        must(replace_file(scratch / name, text, 0600));
        return scratch / name;
    };
    auto read = [&](const std::string &path, const Cut &cut) {
        return Inputs::read({{true, {path}, false}}, cut);
    };
    Cut plain;
    auto lines = put("lines", "a b\n\nc\nlast");
    ck_text_eq(rows_of(must(read(lines, plain))), "a b|c|last");
    plain.keep_empty = true;
    ck_text_eq(rows_of(must(read(lines, plain))), "a b||c|last");
    Cut null;
    null.end = '\0';
    ck_text_eq(rows_of(must(read(put("null", std::string("a\nb\0c\0", 6)), null))), "a\nb|c");
    Cut tabs;
    tabs.separator = "\t";
    tabs.header = true;
    auto table = must(read(put("tabs", "x\ty\n1\t2\n3\t4\n"), tabs));
    ck_text_eq(rows_of(table), "1 2|3 4");
    ck_text_eq(joined(table.columns()), "x|y");
    ck_assert_uint_eq(table.width(), 2);
    ck_contains(error_of(read(scratch / "missing", plain)), "missing");
    ck_contains(error_of(read(put("zero", std::string("a\0b\n", 4)), {})), "--null");
}
END_TEST

START_TEST(test_csv) {
    auto rows = [](std::string_view text) {
        std::string all;
        for (const auto &line : must(parse_csv(text))) all += joined(line) + "/";
        return all;
    };
    ck_text_eq(rows("a,b\r\n1,2\r\n"), "a|b/1|2/");
    ck_text_eq(rows("\"a,b\",\"c\"\"d\"\n\"two\nlines\",\n"), "a,b|c\"d/two\nlines|/");
    ck_text_eq(rows("\xef\xbb\xbf"
                    "a\n\nb"),
               "a/b/");
    ck_text_eq(rows(""), "");
    ck_text_eq(rows("\"\"\n"), "/");
    ck_contains(error_of(parse_csv("a\n\"b")), "not closed");
    ck_contains(error_of(parse_csv("a\n\"b\"c\n")), "line 2 goes on");
}
END_TEST

START_TEST(test_a_journal_survives_a_cut_at_any_byte) {
    test::Scratch scratch;
    auto path = scratch / "journal";
    Counter counter;
    Words digests;
    {
        auto journal = must(Journal::open(path, false));
        for (const char *command : {"a", "b", "a"}) {
            digests.push_back(counter.next(command));
            journal.add(digests.back());
            must(journal.flush());
        }
        must(journal.sync());
    }
    ck_assert(digests[0] != digests[2]); // the second of two alike is another job
    auto text = must(read_file(path));
    constexpr std::size_t head = 16, record = 8 + 17;
    ck_assert_uint_eq(text.size(), head + 3 * record);
    for (std::size_t cut = 0; cut <= text.size(); cut++) {
        must(replace_file(path, text.substr(0, cut), 0600));
        auto whole = cut < head ? 0 : (cut - head) / record;
        {
            auto journal = must(Journal::open(path, true));
            ck_assert_uint_eq(journal.size(), whole);
            for (std::size_t n = 0; n < digests.size(); n++)
                ck_assert(journal.has(digests[n]) == (n < whole));
            journal.add(digests[2]);
            must(journal.sync());
        }
        auto again = must(Journal::open(path, true));
        ck_assert_uint_eq(again.size(), std::min<std::size_t>(whole + 1, 3));
        ck_assert_uint_eq(again.cut_off(), 0);
    }
}
END_TEST

// What workers of a lost cluster have left is told once, and in the journal then.
START_TEST(test_what_lies_beside_a_journal) {
    test::Scratch scratch;
    auto path = scratch / "journal";
    Counter counter;
    auto one = counter.next("a"), two = counter.next("b");
    auto three = counter.next("c"), four = counter.next("d");
    auto record = [](const std::string &digest, const char *outcome) {
        std::string text;
        put_outcome(text, digest, outcome);
        return text;
    };
    {
        auto journal = must(Journal::open(path, false));
        journal.add(one);
        must(journal.sync());
    }
    must(leave_beside(path, "n1.1", record(one, "known")));
    must(leave_beside(path, "n1.1", record(two, "two")));
    must(replace_file(scratch / "journalist", "other\n", 0600));
    must(replace_file(path + ".from-n1.1.aBcD3f", "dtask-jour", 0600)); // in the midst of it
    {
        auto journal = must(Journal::open(path, true));
        ck_assert_uint_eq(journal.size(), 1);
        ck_assert(!journal.has(two));
        ck_text_eq(journal.take_left(two).value_or(""), "two");
        ck_assert(!journal.take_left(two));
        ck_assert(std::filesystem::exists(path + ".from-n1.1")); // until it is in the journal
        journal.add(two);
        must(journal.sync());
        // Its own workers leave theirs while it ends: those are for the next one.
        must(leave_beside(path, "n1.1", record(three, "three")));
        must(leave_beside(path, "n2.2", record(four, "four")));
        must(journal.forget_left());
    }
    {
        auto journal = must(Journal::open(path, true));
        ck_assert_uint_eq(journal.size(), 2);
        ck_assert(!journal.take_left(two));
        ck_text_eq(journal.take_left(three).value_or(""), "three");
        ck_text_eq(journal.take_left(four).value_or(""), "four");
        must(journal.forget_left());
    }
    ck_assert(!std::filesystem::exists(path + ".from-n1.1"));
    ck_assert(!must(Journal::open(path, true)).take_left(three));
    ck_assert(std::filesystem::exists(scratch / "journalist"));
    ck_assert(std::filesystem::exists(path + ".from-n1.1.aBcD3f"));
    // Of a journal that was removed they say nothing.
    std::filesystem::remove(path);
    must(leave_beside(path, "n1.1", record(one, "known")));
    ck_assert(!must(Journal::open(path, true)).take_left(one));
    ck_assert(!std::filesystem::exists(path + ".from-n1.1"));
    ck_contains(error_of(leave_beside("/no/such/directory/j", "n1.1", "")), "/no/such/directory");
}
END_TEST

START_TEST(test_what_a_journal_refuses) {
    test::Scratch scratch;
    auto path = scratch / "journal";
    {
        auto journal = must(Journal::open(path, false));
        ck_contains(error_of(Journal::open(path, true)), "another dtask map writes it");
        journal.add(Counter().next("a"));
        must(journal.sync());
    }
    ck_contains(error_of(Journal::open(path, false)), "--resume");
    must(replace_file(scratch / "notes", "my notes, which nobody may cut\n", 0600));
    ck_contains(error_of(Journal::open(scratch / "notes", true)), "is no journal");
    ck_text_eq(must(read_file(scratch / "notes")), "my notes, which nobody may cut\n");
    // A byte that is wrong: what comes behind is not believed.
    auto text = must(read_file(path));
    text[text.size() - 1] = static_cast<char>(text[text.size() - 1] ^ 1);
    must(replace_file(path, text, 0600));
    ck_assert_uint_eq(must(Journal::open(path, true)).size(), 0);
    ck_assert_uint_eq(crc32("123456789"), 0xcbf43926); // as zlib.crc32
}
END_TEST

START_TEST(test_joblog) {
    model::Ended ended;
    ended.host = "n1";
    ended.began_us = 1'700'000'000'123'456;
    ended.ran_us = 1'500'000;
    ended.exit = 2;
    ended.output = "abc";
    ck_text_eq(joblog_line(7, ended, "prog a"),
               "7\tn1\t1700000000.123\t     1.500\t0\t3\t2\t0\tprog a\n");
    ck_assert(joblog_line(1, ended, "a\nb").ends_with(std::string("\ta\0b\n", 5)));
}
END_TEST

START_TEST(test_progress) {
    Counts counts;
    counts.total = 10'000;
    ck_text_eq(describe(counts), "0/10000 0 %");
    counts.ended = 4'200;
    counts.skipped = 200;
    counts.failed = 31;
    counts.elapsed_us = 8'000'000;
    counts.workers = 4;
    counts.busy = 3;
    ck_text_eq(describe(counts),
               "4200/10000 42 % | 31 failed | 500/s | 11 s left | 3 of 4 workers busy");
    auto text = bar(counts, 100);
    ck_assert_uint_le(text.size(), 100);
    ck_contains(text, "[#");
    ck_assert_uint_eq(bar(counts, 20).size(), 20);
    ck_text_eq(
        summary(counts),
        "4000 jobs in 8.0 s, 31 failed, 200 were done before, 5800 did not run to their end");
    ck_text_eq(span(200'000'000), "3 min 20 s");
    ck_text_eq(span(7'500'000'000), "2 h 5 min");
    counts = {};
    ck_text_eq(describe(counts), "0/0 100 %");
}
END_TEST

START_TEST(test_command_line) {
    cli::MapRequest request;
    auto left = cli::cut_inputs({"map", "-k", "prog", ":::", "a", "::::", "f"}, request);
    ck_text_eq(joined(left), "map|-k|prog");
    ck_text_eq(joined(request.inputs), ":::|a|::::|f");
    left = cli::cut_inputs({"map", "prog"}, request);
    ck_text_eq(joined(left), "map|prog");
    ck_assert(request.inputs.empty());
}
END_TEST

} // namespace

int main() {
    Suite *suite = suite_create("ensemble");
    TCase *tcase = tcase_create("ensemble");
    tcase_add_test(tcase, test_placeholders);
    tcase_add_test(tcase, test_changes_at_the_edges);
    tcase_add_test(tcase, test_arguments_are_the_programs);
    tcase_add_test(tcase, test_a_line_goes_to_a_shell_only_where_it_must);
    tcase_add_test(tcase, test_rows_may_be_the_commands);
    tcase_add_test(tcase, test_sources_are_combined);
    tcase_add_test(tcase, test_inputs_of_files);
    tcase_add_test(tcase, test_csv);
    tcase_add_test(tcase, test_a_journal_survives_a_cut_at_any_byte);
    tcase_add_test(tcase, test_what_lies_beside_a_journal);
    tcase_add_test(tcase, test_what_a_journal_refuses);
    tcase_add_test(tcase, test_joblog);
    tcase_add_test(tcase, test_progress);
    tcase_add_test(tcase, test_command_line);
    suite_add_tcase(suite, tcase);
    return test::run(suite);
}

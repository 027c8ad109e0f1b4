// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include "lib/json/json.h"

using namespace dtask;
using dtask::test::error_of;
using dtask::test::must;

namespace {

START_TEST(test_reads_members) {
    auto json =
        must(Json::parse(R"({"s":"ü","n":7,"m":-7,"c":[0,1,9007199254740991],"o":{"x":1}})"));
    ck_text_eq(must(json.string("s")), "ü");
    ck_assert_uint_eq(must(json.natural("n")), 7);
    ck_assert_int_eq(must(json.integer("m")), -7);
    ck_assert((must(json.column("c")) == std::vector<std::uint64_t>{0, 1, 9007199254740991}));
    ck_assert_int_eq(must(must(json.member("o")).integer("x")), 1);
    ck_assert_uint_eq(must(json.list("c")).size(), 3);
    ck_text_eq(json.string_or("none", "other"), "other");
    ck_text_eq(json.string_or("n", "other"), "other");
    ck_assert_int_eq(json.integer_or("n", 3), 7);
    ck_assert_int_eq(json.integer_or("s", 3), 3);
}
END_TEST

// A member that is missing or of another type is named.
START_TEST(test_refuses_other_types) {
    auto json =
        must(Json::parse(R"({"s":"7","f":7.0,"m":-7,"c":[1,-1],"d":[1,2.5],"e":["1"],"z":null})"));
    ck_text_eq(error_of(json.string("none")), "\"none\" is missing or not a string");
    ck_text_eq(error_of(json.string("f")), "\"f\" is missing or not a string");
    ck_text_eq(error_of(json.natural("s")), "\"s\" is missing or not a number");
    ck_text_eq(error_of(json.natural("m")), "\"m\" is missing or not a number");
    ck_text_eq(error_of(json.integer("f")), "\"f\" is missing or not a number");
    ck_text_eq(error_of(json.integer("z")), "\"z\" is missing or not a number");
    for (auto name : {"c", "d", "e", "s", "none"})
        ck_contains(error_of(json.column(name)), "is missing or not an array of numbers");
    ck_text_eq(error_of(json.list("s")), "\"s\" is missing or not an array");
    ck_text_eq(error_of(json.member("none")), "\"none\" is missing or not a value");
}
END_TEST

START_TEST(test_refuses_what_is_not_json) {
    std::string deep(100'000, '[');
    for (std::string text : {"", "{", "{t:1}", "7", "\"s\"", "{\"a\":1}{", "{\"a\":1,\"a\":2}",
                             "{\"a\":\"\xff\"}", "{\"a\":1e999}", "{\"a\":99999999999999999999}",
                             "{\"a\":\"\\u0000\"}", "{\"a\\u0000\":1}"})
        ck_contains(error_of(Json::parse(text)), "not JSON: ");
    ck_contains(error_of(Json::parse(deep)), "not JSON: ");
    ck_contains(error_of(Json::parse(std::string_view("{\"a\":1}\0", 8))), "not JSON: ");
}
END_TEST

START_TEST(test_writes_what_it_reads) {
    auto json = Json::object()
                    .set("s", "a\"\\\nü")
                    .set("u", std::uint64_t{9007199254740991})
                    .set("i", std::int64_t{-5})
                    .set("c", std::vector<std::uint64_t>{1, 2})
                    .set("a", Json::array().append(Json::object().set("x", 1)));
    auto again = must(Json::parse(json.compact()));
    ck_text_eq(must(again.string("s")), "a\"\\\nü");
    ck_assert_uint_eq(must(again.natural("u")), 9007199254740991);
    ck_assert_int_eq(must(again.integer("i")), -5);
    ck_assert_uint_eq(must(again.column("c")).size(), 2);
    auto array = must(again.member("a"));
    ck_assert_uint_eq(array.size(), 1);
    ck_assert_int_eq(must(array.at(0).integer("x")), 1);
    ck_text_eq(must(Json::parse(json.indented())).compact(), json.compact().c_str());
}
END_TEST

// A value that JSON cannot hold is bent, not dropped: the reader sees a string.
START_TEST(test_strings_that_are_not_utf8) {
    auto json = Json::object().set("s", "a\xff\xc3z");
    ck_text_eq(must(must(Json::parse(json.compact())).string("s")), "a??z");
}
END_TEST

START_TEST(test_values_are_copied_and_moved) {
    auto one = Json::object().set("x", 1).set("o", Json::object().set("y", 1));
    Json two = one;
    two.set("x", 2);
    ck_assert_int_eq(must(one.integer("x")), 1);
    ck_assert_int_eq(must(must(two.member("o")).integer("y")), 1);
    one = two;
    Json three = std::move(two);
    ck_assert_int_eq(must(three.integer("x")), 2);
    two = one; // a value that was moved from can be given another
    ck_assert_int_eq(must(two.integer("x")), 2);
    ck_assert_uint_eq(one.size(), 0);
}
END_TEST

START_TEST(test_takes_columns) {
    auto json = must(Json::parse(R"({"c":[1,2],"d":[9223372036854775807]})"));
    ck_assert((must(json.take_column("c")) == std::vector<std::uint64_t>{1, 2}));
    ck_text_eq(error_of(json.column("c")), "\"c\" is missing or not an array of numbers");
    ck_assert_uint_eq(must(json.take_column("d"))[0], INT64_MAX);
    ck_text_eq(error_of(json.take_column("none")),
               "\"none\" is missing or not an array of numbers");
    json.set("d", 7).set("c", std::vector<std::uint64_t>{});
    ck_text_eq(json.compact(), R"({"d":7,"c":[]})");
}
END_TEST

// What is read without jansson's tree is what jansson reads, and what it refuses is refused.
START_TEST(test_reads_as_the_parser_does) {
    for (std::string text : {R"({})",
                             R"( { "a" : [ 1 , 2 ] , "b" : 3 } )",
                             R"({"a":[],"b":[ ]})",
                             R"({"a":[1,2,]})",
                             R"({"a":[,1]})",
                             R"({"a":[1 2]})",
                             R"({"a":[01]})",
                             R"({"a":[0,00]})",
                             R"({"a":[1.0]})",
                             R"({"a":[1e3]})",
                             R"({"a":[1E3,2]})",
                             R"({"a":[-1]})",
                             R"({"a":[-0]})",
                             R"({"a":-0})",
                             R"({"a":999999999999999999})",
                             R"({"a":1000000000000000000})",
                             R"({"a":[9223372036854775807]})",
                             R"({"a":[9223372036854775808]})",
                             R"({"a":012})",
                             R"({"a":1,"a":2})",
                             R"({"a":[1],"a":[2]})",
                             R"({"a":[1],"\u0061":2})",
                             R"({"\u0061":[1],"b":[2]})",
                             R"({"a":{"b":1,"b":2}})",
                             R"({"a":[}, "k":[1]})",
                             R"({"a":{], "k":[1]})",
                             R"({"a":"],[","b":[1]})",
                             R"({"a":"\"","b":[1]})",
                             R"({"a":"\\","b":[1]})",
                             R"({"a":["\"]"],"b":[1]})",
                             R"({"a":tru,"b":[1]})",
                             R"({"a":true,"b":null,"c":[1]})",
                             R"({"a":"ü","b":[1]})",
                             R"({"ü":[1],"b":[1]})",
                             R"({"a":1}x)",
                             R"({"a":1} )",
                             R"({"a":[1]]})",
                             R"({"a":[1]}})",
                             R"({"a" [1]})",
                             R"({"a":[1],})",
                             R"({,"a":[1]})",
                             R"({"a":})",
                             R"({"a":,"b":1})",
                             R"({"a":1 2})",
                             R"({"a":"x"y})",
                             R"({"a":[1]y})",
                             R"({"a":"x)",
                             R"({"a":"x\)",
                             R"({"a)",
                             R"({"a":[1)",
                             R"({a:[1]})",
                             R"([1,2])",
                             R"([])",
                             R"("x")",
                             R"({"a":[[1],[2]]})",
                             R"({"a":{"b":[1]}})",
                             R"({"a":[1,"2"]})"}) {
        for (const auto &each : {text, text + '\0', text.substr(0, text.size() / 2)}) {
            auto ours = Json::parse(each), theirs = Json::parse_as_tree(each);
            ck_assert_msg(ours.has_value() == theirs.has_value(), "%s", each.c_str());
            if (!ours) ck_text_eq(error_of(ours), error_of(theirs).c_str());
            if (ours) ck_text_eq(ours->indented(), theirs->indented().c_str());
            if (ours)
                ck_text_eq(must(Json::parse(ours->compact())).indented(),
                           theirs->indented().c_str());
        }
    }
}
END_TEST

Suite *suite() {
    auto s = suite_create("json");
    auto c = tcase_create("json");
    tcase_add_test(c, test_reads_members);
    tcase_add_test(c, test_refuses_other_types);
    tcase_add_test(c, test_refuses_what_is_not_json);
    tcase_add_test(c, test_writes_what_it_reads);
    tcase_add_test(c, test_strings_that_are_not_utf8);
    tcase_add_test(c, test_values_are_copied_and_moved);
    tcase_add_test(c, test_takes_columns);
    tcase_add_test(c, test_reads_as_the_parser_does);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

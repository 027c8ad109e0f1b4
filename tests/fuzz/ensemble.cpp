// SPDX-License-Identifier: Apache-2.0
//
// What an ensemble is made of: the command and its placeholders, rows of CSV, a journal that
// another run, or anybody else, has left, and what a worker is told of a command.
#include <string>
#include <vector>

#include "lib/base/strings.h"
#include "lib/model/command.h"
#include "runtime/ensemble/inputs.h"
#include "runtime/ensemble/journal.h"
#include "runtime/ensemble/template.h"
#include "tests/fuzz/target.h"

using namespace dtask;

namespace {

const std::vector<std::string> columns{"name", "value"};

void command(std::string_view bytes) {
    const ensemble::Row row{7, {"a b/c.d", "it's $HOME"}};
    std::vector<std::string> words;
    for (auto word : split(bytes, '\n')) words.emplace_back(word);
    using Shell = ensemble::Template::Shell;
    for (auto mode : {Shell::if_needed, Shell::always, Shell::never}) {
        auto made = ensemble::Template::parse(words, columns, row.values.size(), mode, "/bin/sh");
        if (!made) continue;
        auto argv = made->argv(row);
        promise(!argv.empty());
        if (mode == Shell::always) promise(argv.size() == 3 && argv[0] == "/bin/sh");
        (void)made->line(row);
    }
    auto text = ensemble::Text::parse(bytes, columns, row.values.size());
    // A text without placeholders is itself.
    if (text && bytes.find('{') == bytes.npos) {
        promise(text->constant());
        promise(text->expand(row) == bytes);
    }
    promise(ensemble::quote(bytes).size() >= bytes.size());
    for (auto change : {".", "/", "//", "/."})
        promise(ensemble::changed(bytes, change).size() <= bytes.size() + 1); // "." for nothing
}

void journal(std::string_view bytes) {
    std::size_t told = 0, again = 0;
    std::string digest, outcome;
    auto whole = ensemble::read_journal(bytes, [&](auto of, auto came) {
        told++;
        digest = of;
        outcome = came.value_or("");
    });
    if (!whole) return;
    promise(*whole <= bytes.size());
    // What is whole stays so, whatever is behind it; a record more is a record more.
    std::string text(bytes.substr(0, *whole));
    if (told > 0) ensemble::put_outcome(text, digest, outcome);
    auto same = ensemble::read_journal(text, [&](auto, auto) { again++; });
    promise(same == text.size());
    promise(again == told + (told > 0));
}

void rows(std::string_view bytes) {
    auto table = ensemble::parse_csv(bytes);
    if (!table) promise(!table.error().text().empty());
    if (!table) return;
    for (const auto &row : *table) promise(!row.empty());
}

} // namespace

DTASK_FUZZ_TARGET(ensemble, bytes) {
    command(bytes);
    journal(bytes);
    rows(bytes);
    model::Command one;
    (void)model::Command::decode(bytes, one);
    (void)model::Ended::decode(bytes);
}

// SPDX-License-Identifier: Apache-2.0
#include "runtime/cli/doctor.h"

#include <algorithm>

#include <fmt/format.h>

#include "lib/json/json.h"

namespace dtask::cli {

using doctor::Finding;
using doctor::Verdict;

namespace {

std::int64_t count(const std::vector<Finding> &findings, Verdict verdict) {
    return std::ranges::count(findings, verdict, &Finding::verdict);
}

std::string plural(std::int64_t n, const char *what) {
    return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

} // namespace

std::string table(const doctor::Facts &facts, const std::vector<Finding> &findings) {
    std::string text = fmt::format("dtask {} on {}, as {}\n", facts.version, facts.host,
                                   facts.root ? "root" : "a user");
    for (const auto &finding : findings) {
        text +=
            fmt::format("{:<9}{:<12}{}\n", name_of(finding.verdict), finding.subject, finding.text);
        if (!finding.mend.empty()) text += fmt::format("{:>21}mend: {}\n", "", finding.mend);
    }
    return text + fmt::format("{}, {}\n", plural(count(findings, Verdict::error), "error"),
                              plural(count(findings, Verdict::warning), "warning"));
}

std::string json(const doctor::Facts &facts, const std::vector<Finding> &findings) {
    auto list = Json::array();
    for (const auto &finding : findings) {
        auto row = Json::object();
        row.set("verdict", name_of(finding.verdict))
            .set("subject", finding.subject)
            .set("text", finding.text)
            .set("mend", finding.mend);
        list.append(std::move(row));
    }
    auto all = Json::object();
    all.set("version", facts.version)
        .set("host", facts.host)
        .set("errors", count(findings, Verdict::error))
        .set("warnings", count(findings, Verdict::warning))
        .set("findings", std::move(list));
    return all.indented() + "\n";
}

int exit_code_of(const std::vector<Finding> &findings) {
    return count(findings, Verdict::error) > 0 ? 1 : 0;
}

} // namespace dtask::cli

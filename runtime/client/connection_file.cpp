// SPDX-License-Identifier: Apache-2.0
#include "runtime/client/connection_file.h"

#include <ctime>
#include <filesystem>

#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/net.h"
#include "lib/json/json.h"
#include "lib/model/pattern.h"
#include "runtime/client/probe.h"

namespace dtask::client {

namespace {

constexpr const char *default_pattern = ".dtask/%J.json";

} // namespace

std::string connection_file_path(const model::LaunchSpec &spec) {
    model::PatternValues values;
    values.job = spec.job;
    values.step = spec.step;
    values.node = spec.scheduler_node;
    values.user = user_name();
    const auto &pattern = spec.options.scheduler_file;
    std::filesystem::path path = model::expand(pattern.empty() ? default_pattern : pattern, values);
    return (std::filesystem::path(spec.submit_dir) / path).string();
}

Result<void> write_connection_file(const std::string &path, const Connection &connection) {
    auto directory = std::filesystem::path(path).parent_path().string();
    if (!directory.empty())
        if (auto made = make_directories(directory, 0700); !made) return made;
    Json json = Json::object()
                    .set("type", "dtask")
                    .set("protocol", 1)
                    .set("id", connection.id)
                    .set("engine", connection.engine)
                    .set("address", connection.address)
                    .set("token", connection.token.hex())
                    .set("node", connection.node)
                    .set("pid", static_cast<std::int64_t>(::getpid()));
    if (!connection.dashboard.empty()) json.set("dashboard", connection.dashboard);
    if (!connection.dask.empty())
        json = Json::object()
                   .set("type", "Scheduler")
                   .set("id", "Scheduler-" + connection.id)
                   .set("address", connection.dask)
                   .set("services", Json::object())
                   .set("started", static_cast<double>(std::time(nullptr)))
                   .set("workers", Json::object())
                   .set("dtask", json);
    auto text = json.indented() + "\n";
    // Two steps that begin at once see each other's file here at the latest.
    auto created = create_file(path, text, 0600);
    if (!created) return fail_from(std::move(created));
    if (*created) return {};
    if (auto may = may_write_connection_file(path, connection.token); !may) return may;
    return replace_file(path, text, 0600);
}

Result<Connection> read_connection_file(const std::string &path) {
    auto text = read_file(path);
    if (!text) return fail_from(std::move(text));
    auto json = Json::parse(*text);
    if (!json) return fail_from(std::move(json), path);
    if (auto inner = json->member("dtask")) json = inner;
    if (json->string_or("type", "") != "dtask") return fail(path + ": not a dtask scheduler file");
    auto token = json->string("token").and_then(
        [](const std::string &digits) { return proto::Token::from_hex(digits); });
    if (!token) return fail_from(std::move(token), path);
    auto address = json->string("address");
    if (!address) return fail_from(std::move(address), path);
    return Connection{json->string_or("id", ""),
                      json->string_or("engine", ""),
                      *address,
                      json->string_or("node", ""),
                      *token,
                      "",
                      json->string_or("dashboard", "")};
}

namespace {

Result<std::string> newest_connection_file() {
    std::error_code error;
    std::filesystem::path newest;
    std::filesystem::file_time_type when;
    for (const auto &entry : std::filesystem::directory_iterator(".dtask", error)) {
        if (entry.path().extension() != ".json") continue;
        auto time = entry.last_write_time(error);
        if (error || (!newest.empty() && time <= when)) continue;
        newest = entry.path();
        when = time;
    }
    if (newest.empty())
        return fail("no running cluster found: no scheduler file in .dtask/ here; accepted: "
                    "--scheduler-file=FILE, or the variable DTASK_SCHEDULER_FILE");
    return newest.string();
}

} // namespace

Result<Connection> find_connection(const std::string &chosen, const std::string &variable) {
    Result<std::string> path = chosen.empty() ? variable : chosen;
    if (path->empty()) path = newest_connection_file();
    if (!path) return fail_from(std::move(path));
    auto connection = read_connection_file(*path);
    if (!connection) return fail_from(std::move(connection), "scheduler file");
    return connection;
}

void remove_connection_file(const std::string &path, const proto::Token &token) {
    auto present = read_connection_file(path);
    if (!present || present->token.bytes() != token.bytes()) return;
    ::unlink(path.c_str());
    auto directory = std::filesystem::path(path).parent_path();
    if (directory.filename() == ".dtask") ::rmdir(directory.c_str());
}

} // namespace dtask::client

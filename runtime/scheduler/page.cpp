// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/page.h"

#include <ctime>
#include <utility>

#include "lib/base/net.h"
#include "lib/json/json.h"
#include "lib/proto/codec.h"
#include "lib/proto/digest.h"

namespace dtask::scheduler {

namespace {

constexpr std::int64_t fresh_us = 500'000;

// What stands between <tag> and </tag>, as a browser's policy has its digest.
std::string digest_of(std::string_view html, std::string_view tag) {
    auto open = '<' + std::string(tag) + '>', close = "</" + std::string(tag) + '>';
    auto begin = html.find(open);
    auto end = html.find(close, begin);
    if (begin == html.npos || end == html.npos) return "'none'";
    begin += open.size();
    return "'sha256-" + proto::sha256_base64(html.substr(begin, end - begin)) + '\'';
}

double cpu_seconds() {
    timespec used{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
}

// The query without its token.
std::string without_token(std::string_view query) {
    std::string rest;
    while (!query.empty()) {
        auto piece = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(piece.size() + 1, query.size()));
        if (piece.empty() || piece.starts_with("token=")) continue;
        rest.append(rest.empty() ? "?" : "&").append(piece);
    }
    return rest;
}

} // namespace

Page::Page(const proto::Token &token, const Clock &clock, Sources sources)
    : clock_(clock), sources_(std::move(sources)), key_(proto::derive(token, "page")),
      cookie_(proto::derive(token, "page cookie")),
      policy_("default-src 'none'; connect-src 'self'; img-src data:; script-src " +
              digest_of(page_html, "script") + "; style-src " + digest_of(page_html, "style") +
              "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'") {}

std::string Page::url(const std::string &host, std::uint16_t port) const {
    return "http://" + join_address(host, port) + "/?token=" + key_;
}

bool Page::may_see(const http::Request &request) const {
    return proto::same_secret(http::bearer(request.header("authorization")), key_) ||
           proto::same_secret(http::cookie_value(request.header("cookie"), cookie_name_), cookie_);
}

http::Response Page::answer(const http::Request &request) {
    http::Response response;
    auto token = http::query_value(request.query, "token");
    if (!token.empty() && proto::same_secret(token, key_)) {
        // Two slashes at its beginning would name another host.
        std::string path = request.path.starts_with("//") ? "/" : request.path;
        response.status = 303;
        response.headers = {
            {"Location", path + without_token(request.query)},
            {"Set-Cookie", cookie_name_ + '=' + cookie_ + "; Path=/; HttpOnly; SameSite=Strict"}};
        response.trusted = true;
    } else if (token.empty() && may_see(request)) {
        response = show(request);
        response.trusted = true;
    } else {
        response.status = 401;
        response.headers = {{"WWW-Authenticate", "Bearer realm=\"dtask\""}};
        response.type = "text/html; charset=utf-8";
        response.body = "<!DOCTYPE html><title>dtask: 401</title><p>This is a cluster's page. Open "
                        "the address that the cluster printed when it began, with its token; if "
                        "you have done that already: <a href=\"/\">go on</a>.\n";
    }
    for (auto [name, value] : {std::pair{"Content-Security-Policy", policy_.c_str()},
                               {"Cache-Control", "no-store"},
                               {"X-Content-Type-Options", "nosniff"},
                               {"Referrer-Policy", "no-referrer"},
                               {"Cross-Origin-Resource-Policy", "same-origin"}})
        response.headers.emplace_back(name, value);
    return response;
}

http::Response Page::show(const http::Request &request) {
    http::Response response;
    if (request.path == "/") {
        response.type = "text/html; charset=utf-8";
        response.body = page_html;
    } else if (request.path == "/status") {
        response.type = "application/json";
        response.body =
            fresh(status_, [this] { return proto::encode(sources_.info()).header.indented(); });
    } else if (request.path == "/timeline") {
        response.type = "application/json";
        response.body = fresh(timeline_, sources_.timeline);
    } else if (request.path == "/metrics") {
        response.type = "text/plain; version=0.0.4; charset=utf-8";
        response.body = fresh(metrics_, [this] { return metrics(sources_.info(), cpu_seconds()); });
    } else {
        response.status = 404;
        response.body = "nothing is here; accepted: /, /status, /timeline, /metrics\n";
    }
    return response;
}

std::string Page::fresh(Cached &cached, const std::function<std::string()> &make) {
    auto now = clock_.now_us();
    if (cached.text.empty() || now - cached.made_us >= fresh_us) {
        cached.text = make();
        cached.made_us = now;
    }
    return cached.text;
}

} // namespace dtask::scheduler

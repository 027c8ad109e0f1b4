// SPDX-License-Identifier: Apache-2.0
//
// Page: what a cluster shows of itself to a browser (doc/protocol.md §8). It reads and
// changes nothing.
//
//   /           the page: one file, which loads nothing from elsewhere
//   /status     JSON, the same as of `dtask status --json`
//   /timeline    JSON of Timeline
//   /metrics    the text format of Prometheus
//
// Who may see it holds the page's key, made from the step's token by one way (`derive`): an
// address that leaks shows the page and lets nobody into the cluster. The key comes as
// `Authorization: Bearer KEY`, or as ?token=KEY, which is answered with a cookie and
// the address without it. All others get 401, whatever they ask for.
//
// Answers are made at most twice a second, however many look at them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "lib/base/clock.h"
#include "lib/http/server.h"
#include "lib/proto/auth.h"
#include "lib/proto/message.h"

namespace dtask::scheduler {

/// The page as a file of HTML, with `/*data*/` where a report has its data.
extern const std::string_view page_html;

class Page {
public:
    struct Sources {
        std::function<proto::Info()> info;
        std::function<std::string()> timeline;
    };

    Page(const proto::Token &token, const Clock &clock, Sources sources);

    http::Response answer(const http::Request &request);

    /// Cookies are for a host, not for a port: this tells those of several clusters apart.
    void set_port(std::uint16_t port) { cookie_name_ = "dtask_page_" + std::to_string(port); }
    /// Where a browser begins.
    std::string url(const std::string &host, std::uint16_t port) const;

private:
    struct Cached {
        std::string text;
        std::int64_t made_us = INT64_MIN;
    };

    bool may_see(const http::Request &request) const;
    http::Response show(const http::Request &request);
    std::string fresh(Cached &cached, const std::function<std::string()> &make);

    const Clock &clock_;
    Sources sources_;
    std::string key_, cookie_, cookie_name_ = "dtask_page";
    std::string policy_; ///< Content-Security-Policy
    Cached status_, timeline_, metrics_;
};

/// Prometheus's text of it.
std::string metrics(const proto::Info &info, double cpu_s);

} // namespace dtask::scheduler

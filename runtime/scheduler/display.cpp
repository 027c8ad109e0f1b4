// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/display.h"

#include "runtime/scheduler/chronicle.h"

namespace dtask::scheduler {

namespace {

constexpr std::int64_t look_ms = 250;

} // namespace

Display::Display(ev::Loop &loop, Server &server)
    : loop_(loop), server_(server), look_(loop, look_ms, [this] { look(); }) {
    server_.keep(timeline_);
}

void Display::look() { timeline_.sample(server_.age_us(), sample_of(server_.core())); }

std::string Display::timeline() {
    look(); // so that it agrees with what is told at the same time
    return timeline_.json(server_.age_us());
}

Result<std::string> Display::open_page(const proto::Token &token, const std::string &host,
                                       const std::vector<std::uint16_t> &ports) {
    page_.emplace(token, clock_,
                  Page::Sources{.info = [this] { return server_.info(); },
                                .timeline = [this] { return timeline(); }});
    auto handler = [this](const http::Request &request) { return page_->answer(request); };
    auto opened = http::Server::listen(loop_, host, ports, handler);
    if (!opened) opened = http::Server::listen(loop_, "", ports, handler);
    if (!opened) return fail_from(std::move(opened), "--dtask-dashboard");
    http_ = std::move(*opened);
    page_->set_port(http_->port());
    return page_->url(host, http_->port());
}

} // namespace dtask::scheduler

// SPDX-License-Identifier: Apache-2.0
//
// Display: what a cluster keeps in order to show it: its timeline, and the page that is served
// of it. There is one only where the page or a report was asked for.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/http/server.h"
#include "runtime/scheduler/page.h"
#include "runtime/scheduler/server.h"
#include "runtime/scheduler/timeline.h"

namespace dtask::scheduler {

class Display {
public:
    /// `server` outlives it, and runs no more when it is destroyed.
    Display(ev::Loop &loop, Server &server);

    /// Serves the page at `host` (numeric), or where this machine has no such address at all
    /// of them, on the first free one of `ports`. The address for a browser.
    Result<std::string> open_page(const proto::Token &token, const std::string &host,
                                  const std::vector<std::uint16_t> &ports);
    std::string timeline();

private:
    void look();

    ev::Loop &loop_;
    Server &server_;
    SteadyClock clock_;
    Timeline timeline_;
    ev::Ticker look_;
    std::optional<Page> page_;
    std::unique_ptr<http::Server> http_;
};

} // namespace dtask::scheduler

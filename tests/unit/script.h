// SPDX-License-Identifier: Apache-2.0
//
// Script: what a test does while the program under test runs the loop: steps,
// each with what to wait for and what to do then. Each wait is bounded and
// says in vain what it waited for.
#pragma once

#include <deque>
#include <functional>
#include <optional>

#include <check.h>

#include "lib/base/clock.h"
#include "lib/ev/loop.h"

namespace dtask::test {

class Script {
public:
    explicit Script(ev::Loop &loop, std::int64_t patience_ms = 5'000)
        : loop_(loop), patience_us_(patience_ms * 1000) {}

    /// Once `come` is true, `act`.
    void when(
        const char *what, std::function<bool()> come, std::function<void()> act = [] {}) {
        steps_.push_back({what, std::move(come), std::move(act)});
    }
    /// At once, after the steps before it.
    void then(std::function<void()> act) {
        when(
            "nothing", [] { return true; }, std::move(act));
    }

    /// From now on, until it is destroyed; call before the loop runs.
    void begin() {
        since_ = clock_.now_us();
        look_.emplace(loop_, 1, [this] { look(); });
    }
    void check_done() const {
        if (!steps_.empty()) ck_abort_msg("it ended before: %s", steps_.front().what);
    }

private:
    struct Step {
        const char *what;
        std::function<bool()> come;
        std::function<void()> act;
    };

    void look() {
        while (!steps_.empty() && steps_.front().come()) {
            auto step = std::move(steps_.front());
            steps_.pop_front();
            since_ = clock_.now_us();
            step.act();
        }
        if (clock_.now_us() - since_ > patience_us_)
            ck_abort_msg("waited %d ms in vain for: %s", int(patience_us_ / 1000),
                         steps_.empty() ? "the end" : steps_.front().what);
    }

    ev::Loop &loop_;
    std::int64_t patience_us_, since_ = 0;
    SteadyClock clock_;
    std::deque<Step> steps_;
    std::optional<ev::Ticker> look_;
};

} // namespace dtask::test

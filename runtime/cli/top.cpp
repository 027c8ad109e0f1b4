// SPDX-License-Identifier: Apache-2.0
#include "runtime/cli/top.h"

#include <algorithm>
#include <csignal>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/ev/loop.h"
#include "runtime/cli/screen.h"
#include "runtime/cli/status.h"
#include "runtime/cli/terminal.h"

namespace dtask::cli {

namespace {

class Top {
public:
    Top(ev::Loop &loop, const client::Connection &connection, std::int64_t delay_ms, bool colour)
        : loop_(loop), connection_(connection), tick_(loop, delay_ms, [this] { ask(); }),
          keys_(loop, STDIN_FILENO, [this] { on_keys(); }),
          resized_(loop, SIGWINCH, [this] { draw(); }),
          stopped_(loop, SIGTSTP, [this] { on_stopped(); }) {
        view_.colour = colour;
        for (int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT})
            ends_.push_back(std::make_unique<ev::Signal>(loop, number, [this, number] {
                end({"", "", exit_code::signal_base + number});
            }));
        dialer_ = std::make_unique<client::Dialer>(
            loop, connection.token, proto::Role::observer, std::vector{connection.address}, 5'000,
            client::Dialer::Callbacks{
                .on_connected = [this] { ask(); },
                .on_frame = [this](const proto::Frame &frame) { on_frame(frame); },
                .on_lost = [this](const std::string &why) { on_lost("was lost: " + why); },
                .on_failed =
                    [this](const std::string &why) { on_lost("does not answer: " + why); }});
    }

    Said run() {
        loop_.run();
        terminal_.leave();
        return std::move(said_);
    }

private:
    void ask() {
        if (dialer_->connected()) dialer_->send(proto::make_frame("info"));
    }

    void on_frame(const proto::Frame &frame) {
        auto type = frame.type();
        if (type == "bye")
            return end({"cluster " + connection_.id +
                            " has ended: " + frame.header.string_or("why", "") + '\n',
                        ""});
        if (type != "info") return;
        auto info = proto::decode_info(frame);
        if (!info) return on_lost("says what is no state: " + info.error().text());
        info_ = std::move(*info);
        draw();
    }

    void on_lost(const std::string &how) {
        end({"", "the scheduler of " + connection_.id + ' ' + how + '\n', exit_code::cluster_lost});
    }

    void end(Said said) {
        if (std::exchange(ended_, true)) return;
        said_ = std::move(said);
        loop_.stop();
    }

    void scroll(std::int64_t lines) {
        auto count = static_cast<std::int64_t>(info_ ? info_->workers.size() : 0);
        auto room = static_cast<std::int64_t>(info_ ? room_for_workers(*info_, view_) : 0);
        auto first = std::clamp<std::int64_t>(static_cast<std::int64_t>(view_.first) + lines, 0,
                                              std::max<std::int64_t>(count - room, 0));
        view_.first = static_cast<std::size_t>(first);
        draw();
    }

    void on_keys() {
        char bytes[64];
        ssize_t n = ::read(STDIN_FILENO, bytes, sizeof bytes);
        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) return end({});
        std::string_view keys(bytes, n > 0 ? static_cast<std::size_t>(n) : 0);
        constexpr std::int64_t page = 10;
        while (!keys.empty()) {
            std::size_t used = 1;
            if (keys[0] == 'q' || keys[0] == 'Q') return end({});
            if (keys[0] == 'j') scroll(1);
            if (keys[0] == 'k') scroll(-1);
            for (auto [sequence, lines] : {std::pair<std::string_view, std::int64_t>{"\x1b[A", -1},
                                           {"\x1b[B", 1},
                                           {"\x1bOA", -1},
                                           {"\x1bOB", 1},
                                           {"\x1b[5~", -page},
                                           {"\x1b[6~", page}})
                if (keys.starts_with(sequence)) {
                    scroll(lines);
                    used = sequence.size();
                    break;
                }
            keys.remove_prefix(used);
        }
    }

    // Ctrl-Z: the shell gets its terminal as it was, and gives it back.
    void on_stopped() {
        terminal_.leave();
        (void)::raise(SIGSTOP);
        terminal_.enter();
        draw();
    }

    void draw() {
        auto [columns, rows] = Terminal::size();
        view_.columns = columns;
        view_.rows = rows;
        if (info_)
            terminal_.draw(screen(*info_, view_));
        else
            terminal_.draw({"dtask top: waiting for the scheduler of " + connection_.id});
    }

    ev::Loop &loop_;
    const client::Connection &connection_;
    Said said_;
    bool ended_ = false;
    View view_;
    std::optional<proto::Info> info_;
    std::unique_ptr<client::Dialer> dialer_;
    ev::Ticker tick_;
    ev::Readable keys_;
    ev::Signal resized_, stopped_;
    std::vector<std::unique_ptr<ev::Signal>> ends_;
    Terminal terminal_;
};

} // namespace

Result<Said> top(const TopRequest &request, const Env &env) {
    auto connection = find_cluster(request.scheduler_file, env);
    if (!connection) return fail_from(std::move(connection));
    if (!Terminal::there_is_one(env.get_or("TERM", "")))
        return status({request.scheduler_file}, env);
    ev::Loop loop;
    Top top(loop, *connection, static_cast<std::int64_t>(request.delay_ms),
            env.get_or("NO_COLOR", "").empty());
    return top.run();
}

} // namespace dtask::cli

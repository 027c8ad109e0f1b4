// SPDX-License-Identifier: Apache-2.0
#include "lib/proto/link.h"

#include <algorithm>
#include <utility>

#include "lib/base/net.h"

namespace dtask::proto {

namespace {

constexpr std::int64_t look_ms = 1'000;
constexpr std::int64_t longest_gap_us = 5'000'000; // between looks, unless we were stopped

} // namespace

Link::Link(ev::Loop &loop, Fd fd, std::variant<Initiator, Acceptor> proof, Role role,
           Callbacks callbacks, std::int64_t deadline_ms)
    : loop_(loop), callbacks_(std::move(callbacks)), role_(role), proof_(std::move(proof)),
      deadline_(loop, [this] { end("no proof within 10 s"); }),
      stream_(loop, std::move(fd),
              {.on_data = [this] { on_data(); },
               .on_closed = [this](const std::string &why) { end(why); },
               .on_sent = callbacks_.on_sent}) {
    deadline_.set(deadline_ms);
}

std::unique_ptr<Link> Link::accept(ev::Loop &loop, Fd connection, const Token &token,
                                   Callbacks callbacks, std::int64_t deadline_ms) {
    Acceptor proof(token, local_port(connection.get()));
    return std::unique_ptr<Link>(new Link(loop, std::move(connection), std::move(proof),
                                          Role::client, std::move(callbacks), deadline_ms));
}

std::unique_ptr<Link> Link::initiate(ev::Loop &loop, Fd connecting, std::uint16_t port,
                                     const Token &token, Role role, Callbacks callbacks,
                                     std::int64_t deadline_ms) {
    std::unique_ptr<Link> link(new Link(loop, std::move(connecting), Initiator(token, role, port),
                                        role, std::move(callbacks), deadline_ms));
    link->stream_.write(std::string_view(std::get<Initiator>(link->proof_).hello()));
    return link;
}

void Link::send(Frame frame) {
    if (state_ != State::open) return;
    stream_.write(encode_head(frame));
    if (!frame.payload.empty()) stream_.write(std::move(frame.payload));
}

void Link::watch(std::int64_t limit_ms) {
    stream_.keep_alive(static_cast<int>(std::max<std::int64_t>(limit_ms / 4'000, 1)));
    looked_us_ = awake_us_ = clock_.now_us();
    watch_.emplace(loop_, look_ms, [this, limit_ms] { look(limit_ms); });
}

void Link::look(std::int64_t limit_ms) {
    auto now = clock_.now_us();
    // We were stopped ourselves, as a suspended job is: the peer is to be heard from now on.
    if (now - std::exchange(looked_us_, now) > longest_gap_us) awake_us_ = now;
    if (std::min(stream_.unheard_ms(), (now - awake_us_) / 1'000) > limit_ms)
        end("nothing was heard of it for " + std::to_string(limit_ms / 1'000) + " s");
}

void Link::close() {
    state_ = State::closed;
    watch_.reset();
    deadline_.cancel();
    stream_.silence();
}

void Link::end(const std::string &why) {
    if (state_ == State::closed) return;
    bool proven = state_ == State::open;
    close();
    if (callbacks_.on_closed) callbacks_.on_closed(proven, refused_.empty() ? why : refused_);
}

void Link::on_data() {
    while (state_ != State::closed) {
        Result<bool> progress = false;
        if (state_ == State::open)
            progress = step_frame();
        else if (auto *initiator = std::get_if<Initiator>(&proof_))
            progress = step_initiator(*initiator);
        else
            progress = step_acceptor(std::get<Acceptor>(proof_));
        if (!progress) return end(progress.error().text());
        if (!*progress) return; // more bytes are needed
    }
}

Result<bool> Link::step_initiator(const Initiator &initiator) {
    // A peer of another version says no more than that.
    auto first = stream_.peek(std::min(stream_.available(), magic.size()));
    if (auto other = other_version(first); !other.empty()) {
        other_version_ = true;
        return fail(other);
    }
    if (stream_.available() < answer_size) return false;
    auto proof = initiator.prove(stream_.take(answer_size));
    if (!proof) return fail_from(std::move(proof));
    stream_.write(std::string_view(*proof));
    become_open(role_);
    return true;
}

Result<bool> Link::step_acceptor(Acceptor &acceptor) {
    // Told which version this is, a peer of another one goes; it can prove nothing.
    if (!refused_.empty()) return stream_.available() == 0 ? Result<bool>(false) : fail(refused_);
    if (stream_.available() < (answered_ ? proof_size : hello_size)) return false;
    if (!answered_) {
        auto hello = stream_.take(hello_size);
        if (refused_ = other_version(hello); !refused_.empty()) {
            stream_.write(magic);
            return true;
        }
        auto answer = acceptor.answer(hello);
        if (!answer) return fail_from(std::move(answer));
        stream_.write(std::string_view(*answer));
        answered_ = true;
        return true;
    }
    auto role = acceptor.check(stream_.take(proof_size));
    if (!role) return fail_from(std::move(role));
    become_open(*role);
    return true;
}

void Link::become_open(Role role) {
    role_ = role;
    state_ = State::open;
    deadline_.cancel();
    if (callbacks_.on_open) callbacks_.on_open(role);
}

Result<bool> Link::step_frame() {
    if (stream_.available() < lengths_size) return false;
    auto lengths = decode_lengths(stream_.peek(lengths_size));
    if (!lengths) return fail_from(std::move(lengths));
    std::size_t whole = lengths_size + lengths->header + lengths->payload;
    if (stream_.available() < whole) {
        stream_.expect(whole);
        return false;
    }

    auto header = decode_header(stream_.peek(lengths_size + lengths->header).substr(lengths_size));
    if (!header) return fail_from(std::move(header));
    stream_.drop(lengths_size + lengths->header);
    // Taken before the call: the peer may send more, or be closed, in it.
    Frame frame{std::move(*header), stream_.take(lengths->payload)};
    callbacks_.on_frame(std::move(frame));
    return true;
}

} // namespace dtask::proto

// SPDX-License-Identifier: Apache-2.0
#include "lib/ev/loop.h"

#include <csignal>
#include <cstdlib>
#include <utility>

#include <event2/event.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace dtask::ev {

namespace {

timeval to_timeval(std::int64_t ms) {
    return {static_cast<time_t>(ms / 1000), static_cast<suseconds_t>(ms % 1000 * 1000)};
}

sigset_t set_of(int number) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, number);
    return set;
}

// A descriptor from which a signal is read, and by which alone it comes from now on.
int take(int number) {
    // A blocked one comes even where it is ignored. But of SIGCHLD that we may have inherited so no
    // child would wait to be reaped.
    if (number == SIGCHLD) (void)::signal(number, SIG_DFL);
    auto one = set_of(number);
    ::sigprocmask(SIG_BLOCK, &one, nullptr);
    int fd = ::signalfd(-1, &one, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) std::abort(); // no descriptor is left at start: nothing can run
    return fd;
}

// The callback is copied first: it may destroy its own Source.
void call(evutil_socket_t, short, void *arg) {
    auto hold = *static_cast<std::shared_ptr<std::function<void()>> *>(arg);
    (*hold)();
}

} // namespace

void Free::operator()(event *e) const { event_free(e); }
void Free::operator()(event_base *b) const { event_base_free(b); }

Loop::Loop() : base_(event_base_new()) {
    if (!base_) std::abort(); // no memory or no epoll at start: nothing can run
}

Loop::~Loop() = default;

void Loop::run() {
    stopped_ = false;
    end_turn(); // of the turn that stop() cut short
    while (!stopped_) {
        bool more = !posted_.empty() || !ending_.empty();
        event_base_loop(base_.get(),
                        EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | (more ? EVLOOP_NONBLOCK : 0));
        end_turn();
    }
}

void Loop::stop() {
    stopped_ = true;
    event_base_loopbreak(base_.get());
}

void Loop::post(std::function<void()> work) { posted_.push_back(std::move(work)); }

void Loop::end_turn() {
    if (stopped_) return;
    for (auto &work : std::exchange(posted_, {})) work();
    auto count = ending_.size();
    for (std::size_t n = 0; n < count; n++) {
        EndOfTurn *one = ending_[n];
        if (!one) continue;
        one->place_ = EndOfTurn::not_set;
        ending_[n] = nullptr;
        one->callback_();
    }
    ending_.erase(ending_.begin(), ending_.begin() + static_cast<std::ptrdiff_t>(count));
    for (std::size_t n = 0; n < ending_.size(); n++)
        if (ending_[n]) ending_[n]->place_ = n;
}

EndOfTurn::EndOfTurn(Loop &loop, std::function<void()> callback)
    : loop_(loop), callback_(std::move(callback)) {}

void EndOfTurn::set() {
    if (place_ != not_set) return;
    place_ = loop_.ending_.size();
    loop_.ending_.push_back(this);
}

void EndOfTurn::cancel() {
    if (place_ != not_set) loop_.ending_[place_] = nullptr;
    place_ = not_set;
}

Source::Source(Loop &loop, int fd, short what, std::function<void()> callback)
    : callback_(std::make_shared<std::function<void()>>(std::move(callback))),
      event_(event_new(loop.base(), fd, what, call, &callback_)) {
    if (!event_) std::abort();
}

Timer::Timer(Loop &loop, std::function<void()> callback)
    : Source(loop, -1, 0, std::move(callback)) {}

void Timer::set(std::int64_t ms) {
    auto tv = to_timeval(ms);
    event_add(raw(), &tv);
}

void Timer::cancel() { event_del(raw()); }

Ticker::Ticker(Loop &loop, std::int64_t ms, std::function<void()> callback)
    : Source(loop, -1, EV_PERSIST, std::move(callback)) {
    auto tv = to_timeval(ms);
    event_add(raw(), &tv);
}

Readable::Readable(Loop &loop, int fd, std::function<void()> callback)
    : Source(loop, fd, EV_READ | EV_PERSIST, std::move(callback)) {
    event_add(raw(), nullptr);
}

void Readable::stop() { event_del(raw()); }

Signal::Signal(Loop &loop, int number, std::function<void()> callback)
    : number_(number), fd_(take(number)),
      readable_(loop, fd_.get(), [fd = fd_.get(), told = std::move(callback)] {
          signalfd_siginfo about; // a second one of the number waits for the first to be read
          if (::read(fd, &about, sizeof about) == sizeof about) told();
      }) {}

Signal::~Signal() {
    signalfd_siginfo about; // what came too late for a callback is not to end the process now
    (void)!::read(fd_.get(), &about, sizeof about);
    auto one = set_of(number_);
    ::sigprocmask(SIG_UNBLOCK, &one, nullptr);
}

Writable::Writable(Loop &loop, int fd, std::function<void()> callback)
    : Source(loop, fd, EV_WRITE | EV_PERSIST, std::move(callback)) {}

void Writable::start() { event_add(raw(), nullptr); }
void Writable::stop() { event_del(raw()); }

} // namespace dtask::ev

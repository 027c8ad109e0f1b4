// SPDX-License-Identifier: Apache-2.0
//
// Loop: the one event loop of a process, with its timers, signals and
// descriptors to watch. This folder is the only includer of <event2/…>.
//
// Everything runs in the thread that calls run(). A Timer, Signal or Readable
// belongs to whoever made it and must not outlive its Loop; destroying one
// inside its own callback is allowed. Times are in milliseconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "lib/base/fd.h"

struct event;
struct event_base;

namespace dtask::ev {

struct Free {
    void operator()(event *e) const;
    void operator()(event_base *b) const;
};

class EndOfTurn;

class Loop {
public:
    Loop();
    Loop(const Loop &) = delete;
    Loop &operator=(const Loop &) = delete;
    ~Loop();

    /// Runs until stop().
    void run();
    void stop();

    /// Runs `work` at the end of this turn, once all that was ready has had its
    /// callback: for what must not happen inside them, as freeing a caller, and
    /// for what gains from being done once a turn. It costs no system call.
    void post(std::function<void()> work);

    event_base *base() const { return base_.get(); }

    /// Room for what is read and looked at within one callback, so that thousands of
    /// connections need none each. `lent` is the borrower's to set and to take back.
    struct Scratch {
        static constexpr std::size_t size = 256 << 10;
        std::unique_ptr<char[]> bytes{new char[size]};
        bool lent = false;
    };
    Scratch &scratch() { return scratch_; }

private:
    friend class EndOfTurn;
    void end_turn();

    std::unique_ptr<event_base, Free> base_;
    bool stopped_ = false;
    std::vector<std::function<void()>> posted_;
    std::vector<EndOfTurn *> ending_; ///< null: cancelled
    Scratch scratch_;
};

/// A callback after those of Loop::post in this turn, once however often it is set. Set
/// from within one it comes in the next turn, so that nobody is kept from being read.
class EndOfTurn {
public:
    EndOfTurn(Loop &loop, std::function<void()> callback);
    EndOfTurn(const EndOfTurn &) = delete;
    EndOfTurn &operator=(const EndOfTurn &) = delete;
    ~EndOfTurn() { cancel(); }
    void set();
    void cancel();

private:
    friend class Loop;
    static constexpr std::size_t not_set = SIZE_MAX;
    Loop &loop_;
    std::function<void()> callback_;
    std::size_t place_ = not_set; ///< in Loop::ending_
};

/// A callback that libevent reaches through a stable pointer.
class Source {
public:
    Source(const Source &) = delete;
    Source &operator=(const Source &) = delete;

protected:
    Source(Loop &loop, int fd, short what, std::function<void()> callback);
    ~Source() = default;
    event *raw() const { return event_.get(); }

private:
    std::shared_ptr<std::function<void()>> callback_;
    std::unique_ptr<event, Free> event_;
};

class Timer : public Source {
public:
    Timer(Loop &loop, std::function<void()> callback);
    /// Fires once, `ms` from now; a timer that is set again forgets the former time.
    void set(std::int64_t ms);
    void cancel();
};

/// Fires each `ms` until destroyed.
class Ticker : public Source {
public:
    Ticker(Loop &loop, std::int64_t ms, std::function<void()> callback);
};

/// Fires whenever `fd`, which it does not own, can be read, until stop().
class Readable : public Source {
public:
    Readable(Loop &loop, int fd, std::function<void()> callback);
    void stop();
};

/// Fires once for all of a signal that came since it fired. The signal is blocked meanwhile and
/// read from a descriptor: nothing is interrupted by it, whatever the process is in. Afterwards
/// it is unblocked, whoever had it blocked before. One of a number at a time.
class Signal {
public:
    Signal(Loop &loop, int number, std::function<void()> callback);
    Signal(const Signal &) = delete;
    Signal &operator=(const Signal &) = delete;
    ~Signal();

private:
    int number_;
    Fd fd_;
    Readable readable_;
};

/// Fires whenever `fd`, which it does not own, can be written, between start() and stop().
class Writable : public Source {
public:
    Writable(Loop &loop, int fd, std::function<void()> callback);
    void start();
    void stop();
};

} // namespace dtask::ev

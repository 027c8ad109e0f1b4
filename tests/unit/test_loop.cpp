// SPDX-License-Identifier: Apache-2.0
//
// lib/ev: the loop, its timers and signals, and what is watched in it.
#include "tests/unit/unit.h"

#include <csignal>
#include <optional>

#include <unistd.h>

#include "lib/base/log.h"
#include "lib/ev/loop.h"
#include "tests/unit/pair.h"
#include "tests/unit/wait.h"

using namespace dtask;
using dtask::test::Pair;
using dtask::test::settle;
using dtask::test::wait_for;

namespace {

START_TEST(test_post_keeps_order) {
    ev::Loop loop;
    std::string order;
    loop.post([&] {
        order += 'a';
        loop.post([&] {
            order += 'c';
            loop.stop();
        });
    });
    loop.post([&] { order += 'b'; });
    loop.run();
    ck_text_eq(order, "abc");
    loop.post([&] { loop.stop(); }); // it can be run again
    loop.run();
}
END_TEST

// Once however often it is set, behind what was posted, and never when cancelled or gone.
START_TEST(test_end_of_turn) {
    ev::Loop loop;
    std::string said;
    std::optional<ev::EndOfTurn> gone(std::in_place, loop, [&] { said += "gone "; });
    ev::EndOfTurn cancelled(loop, [&] { said += "cancelled "; });
    ev::EndOfTurn later(loop, [&] { said += "later "; });
    ev::EndOfTurn first(loop, [&] {
        said += "first ";
        later.set();
        loop.post([&] { said += "next "; });
    });
    gone->set();
    cancelled.set();
    first.set();
    first.set();
    loop.post([&] {
        said += "posted ";
        gone.reset();
        cancelled.cancel();
    });
    wait_for(loop, "the next turn", [&] { return said.ends_with("later "); });
    ck_text_eq(said, "posted first next later ");
    first.set(); // another turn
    wait_for(loop, "it again", [&] { return said.ends_with("later first next later "); });
}
END_TEST

START_TEST(test_timers) {
    ev::Loop loop;
    int fired = 0;
    ev::Timer once(loop, [&] { fired++; });
    ev::Timer never(loop, [&] { ck_abort_msg("a cancelled timer fired"); });
    never.set(1);
    never.cancel();
    never.cancel();
    once.set(60'000);
    once.set(1); // the former time is forgotten
    wait_for(loop, "a timer", [&] { return fired == 1; });
    settle(loop);
    ck_assert_int_eq(fired, 1);
    once.set(1);
    wait_for(loop, "a timer set again", [&] { return fired == 2; });
}
END_TEST

START_TEST(test_ticker) {
    ev::Loop loop;
    int ticks = 0;
    {
        ev::Ticker ticker(loop, 1, [&] {
            if (++ticks == 3) loop.stop();
        });
        loop.run();
    }
    settle(loop);
    ck_assert_int_eq(ticks, 3);
}
END_TEST

START_TEST(test_signals) {
    ev::Loop loop;
    int came = 0;
    sigset_t inherited;
    ::sigemptyset(&inherited);
    ::sigaddset(&inherited, SIGUSR1);
    ::sigprocmask(SIG_BLOCK, &inherited, nullptr);
    {
        ev::Signal signal(loop, SIGUSR1, [&] { came++; });
        ::raise(SIGUSR1);
        wait_for(loop, "a signal", [&] { return came == 1; });
        ::raise(SIGUSR1);
        wait_for(loop, "another signal", [&] { return came == 2; });
    }
    // Afterwards it is unblocked, and does what it did before: one that came too late is gone, and
    // one that was ignored is.
    {
        ev::Signal signal(loop, SIGUSR1, [] {});
        ::raise(SIGUSR1);
    }
    (void)::signal(SIGUSR1, SIG_IGN);
    {
        ev::Signal signal(loop, SIGUSR1, [&] { came++; });
        ::raise(SIGUSR1);
        wait_for(loop, "one that is ignored", [&] { return came == 3; });
    }
    sigset_t blocked;
    ::sigprocmask(SIG_BLOCK, nullptr, &blocked);
    ck_assert(!sigismember(&blocked, SIGUSR1));
    ::raise(SIGUSR1);
    ck_assert(::signal(SIGUSR1, SIG_DFL) == SIG_IGN);
}
END_TEST

START_TEST(test_readable_and_writable) {
    ev::Loop loop;
    Pair pair;
    int readable = 0, writable = 0;
    ev::Readable read(loop, pair.one.get(), [&] {
        char c;
        if (::read(pair.one.get(), &c, 1) == 1) readable++;
    });
    ev::Writable write(loop, pair.two.get(), [&] {
        writable++;
        write.stop();
    });
    settle(loop);
    ck_assert_int_eq(readable + writable, 0);
    write.start();
    ck_assert_int_eq(::write(pair.two.get(), "x", 1), 1);
    wait_for(loop, "both", [&] { return readable == 1 && writable == 1; });
    read.stop();
    ck_assert_int_eq(::write(pair.two.get(), "x", 1), 1);
    settle(loop);
    ck_assert_int_eq(readable, 1);
}
END_TEST

// Each may destroy itself in its callback, and what the callback holds lives on.
START_TEST(test_destroyed_in_its_callback) {
    ev::Loop loop;
    std::string after;
    std::optional<ev::Timer> timer;
    timer.emplace(loop, [&, kept = std::string("timer, long enough for the heap")] {
        timer.reset();
        after = kept;
    });
    timer->set(0);
    wait_for(loop, "the timer", [&] { return after.starts_with("timer"); });
    std::optional<ev::Ticker> ticker;
    ticker.emplace(loop, 1, [&, kept = std::string("ticker, long enough for the heap")] {
        ticker.reset();
        after = kept;
    });
    wait_for(loop, "the ticker", [&] { return after.starts_with("ticker"); });
    std::optional<ev::Signal> signal;
    signal.emplace(loop, SIGUSR2, [&, kept = std::string("signal, long enough for the heap")] {
        signal.reset();
        after = kept;
    });
    ::raise(SIGUSR2);
    wait_for(loop, "the signal", [&] { return after.starts_with("signal"); });
}
END_TEST

Suite *suite() {
    auto s = suite_create("loop");
    auto loop = tcase_create("loop");
    for (auto test : {test_post_keeps_order, test_end_of_turn, test_timers, test_ticker,
                      test_signals, test_readable_and_writable, test_destroyed_in_its_callback})
        tcase_add_test(loop, test);
    suite_add_tcase(s, loop);
    return s;
}

} // namespace

int main() { return test::run(suite()); }

# SPDX-License-Identifier: Apache-2.0
"""dtask.Executor holds what concurrent.futures.Executor promises, on a cluster of `dtask run`.

doc/executor.md says which of CPython's own test cases each of these answers, and those of
test_executor_ends.py. The cluster, of two workers, is shared by the file.
"""

import asyncio
import concurrent.futures as cf
import gc
import itertools
import os
import signal
import sys
import threading
import weakref

import pytest
from calls import (
    LONG,
    CrashesThere,
    Empty,
    ExitsThere,
    FailsThere,
    False_,
    Thing,
    Unpicklable,
    capture,
    crash,
    make_crashes_at_pickle,
    make_exits_at_pickle,
    make_fails_there,
    make_thing,
    make_unpicklable,
    nap,
    raise_it,
    wait_for_file,
)
from clusters import wait_for

import dtask

pytestmark = pytest.mark.usefixtures("on_cluster")


# Submit and map.


def test_submit(pool):
    assert pool.submit(pow, 2, 8).result(LONG) == 256


def test_keywords(pool):
    assert pool.submit(pow, 2, exp=3).result(LONG) == 8
    future = pool.submit(capture, 1, self=2, fn=3, function=4)
    assert future.result(LONG) == ((1,), {"self": 2, "fn": 3, "function": 4})
    for wrong in ({"fn": capture, "arg": 1}, {"arg": 1}):
        with pytest.raises(TypeError):
            pool.submit(**wrong)


@pytest.mark.parametrize("options", [{}, {"chunksize": 3}, {"buffersize": 2}])
def test_map(pool, options):
    assert list(pool.map(pow, range(10), range(10), **options)) == [x**x for x in range(10)]
    assert list(pool.map(pow, range(3), range(100), **options)) == [0**0, 1, 4]
    assert list(pool.map(str, [], **options)) == [] == list(pool.map(str, **options))


def test_chunks(pool):
    expected = [x**x for x in range(40)]
    for size in (6, 40, 50):
        assert list(pool.map(pow, range(40), range(40), chunksize=size)) == expected
    for size in (0, -1):
        with pytest.raises(ValueError, match="chunksize must be >= 1"):
            pool.map(pow, range(40), range(40), chunksize=size)


def test_map_starts_at_once_and_keeps_the_order(pool, tmp_path):
    results = pool.map(wait_for_file, [tmp_path / "go"] + [os.devnull] * 5, range(6))
    assert pool.submit(nap, 0, "later").result(LONG) == "later"
    (tmp_path / "go").touch()
    assert list(results) == list(range(6))


@pytest.mark.parametrize("options", [{}, {"chunksize": 1}, {"buffersize": 2}])
def test_map_raises_where_the_call_did(pool, options):
    results = pool.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5], **options)
    assert next(results) == next(results) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_map_timeout(pool):
    results = pool.map(nap, [0, 0, LONG], timeout=5)
    assert next(results) is None and next(results) is None
    with pytest.raises(cf.TimeoutError):
        next(results)
    # What was under way was cancelled: there is room at once.
    assert pool.submit(abs, -1).result(LONG) == 1


def test_map_that_is_dropped_cancels(pool):
    results = pool.map(nap, [0] + [LONG] * 5)
    assert next(results) is None
    results.close()
    assert list(pool.map(abs, [-1, -2, -3])) == [1, 2, 3]


@pytest.mark.parametrize("size", ["foo", 2.0])
def test_buffersize_must_be_an_integer(pool, size):
    with pytest.raises(TypeError, match="buffersize must be an integer or None"):
        pool.map(str, range(4), buffersize=size)


@pytest.mark.parametrize("size", [0, -1])
def test_buffersize_must_be_positive(pool, size):
    with pytest.raises(ValueError, match="buffersize must be None or > 0"):
        pool.map(str, range(4), buffersize=size)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_buffersize(pool, size):
    numbers = itertools.count()
    results = pool.map(str, numbers, buffersize=size)
    assert next(numbers) == size, "it takes no more than it may"
    assert [next(results) for _ in range(size)] == [str(x) for x in range(size)]


def test_buffer_after_shutdown():
    pool = dtask.Executor()
    numbers = itertools.count()
    results = pool.map(str, numbers, buffersize=4)
    pool.shutdown(wait=True)
    assert next(numbers) == 4
    with pytest.raises(RuntimeError, match="after shutdown"):
        next(results)


def test_max_workers():
    for number in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            dtask.Executor(max_workers=number)
    with dtask.Executor(7) as pool, dtask.Executor() as other:
        assert pool._max_workers == 7 and other._max_workers == 2


def test_saturation(pool, tmp_path):
    futures = [pool.submit(wait_for_file, tmp_path / "go", x) for x in range(30)]
    assert not any(future.done() for future in futures)
    (tmp_path / "go").touch()
    assert [future.result(LONG) for future in futures] == list(range(30))


def test_many_threads(pool):
    found = {}

    def use(number):
        values = [pool.submit(pow, number, x) for x in range(20)]
        found[number] = [value.result(LONG) for value in values] + list(pool.map(abs, [-number]))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert found == {n: [n**x for x in range(20)] + [n] for n in range(8)}


# References.


def test_arguments_are_let_go(pool):
    thing, gone = Thing(), threading.Event()
    watch = weakref.ref(thing, lambda _: gone.set())
    pool.submit(thing.method)  # nobody keeps the future
    del thing
    assert gone.wait(LONG) and watch() is None


@pytest.mark.parametrize("options", [{}, {"chunksize": 4}, {"buffersize": 2}])
def test_map_keeps_no_results(pool, options):
    for thing in pool.map(make_thing, range(10), **options):
        watch = weakref.ref(thing)
        del thing
        assert watch() is None


def test_as_completed_keeps_no_futures(pool):
    futures = [pool.submit(pow, 2, x) for x in range(5)]
    watches = [weakref.ref(future) for future in futures]
    cf.wait(futures, LONG)
    for future in cf.as_completed(futures, timeout=LONG):
        futures.remove(future)
        index = [watch() for watch in watches].index(future)
        del future
        # The receiver thread may hold the last one for an instant.
        wait_for("the end of the future", lambda: watches[index]() is None, LONG)


class Marked:
    def __init__(self):
        self.list = []


def count_marked(_):
    return sum(isinstance(one, Marked) for one in gc.get_objects())


def test_arguments_are_let_go_on_the_worker():
    with dtask.Executor() as pool:
        assert all(n >= 1 for n in pool.map(count_marked, [Marked() for _ in range(8)]))
        assert set(pool.map(count_marked, [None] * 8)) == {0}


# Errors.


@pytest.mark.parametrize("kind", [Empty, False_])
def test_exceptions_that_are_false(pool, kind):
    future = pool.submit(raise_it, kind, "all the same")
    with pytest.raises(kind, match="all the same"):
        future.result(LONG)
    assert isinstance(future.exception(), kind)
    with pytest.raises(kind):
        list(pool.map(raise_it, [kind]))


def raise_with_a_comment():
    raise RuntimeError(123)  # some comment


def test_traceback(pool):
    future = pool.submit(raise_with_a_comment)
    with pytest.raises(RuntimeError) as caught:
        future.result(LONG)
    assert type(caught.value) is RuntimeError and caught.value.args == (123,)
    assert "raise RuntimeError(123)  # some comment" in str(caught.value.__cause__)
    assert "some comment" in future.traceback()


def test_what_cannot_be_pickled_fails_its_future_alone(pool):
    for future in (
        pool.submit(abs, Unpicklable()),
        pool.submit(Unpicklable().__reduce__),
    ):
        with pytest.raises(dtask.PickleError, match="not to be pickled"):
            future.result(LONG)
    results = pool.map(capture, [1, Unpicklable(), 3])
    assert next(results) == ((1,), {})
    with pytest.raises(dtask.PickleError, match="not to be pickled"):
        next(results)
    assert pool.submit(abs, -1).result(LONG) == 1


def test_results_that_cannot_be_pickled(pool):
    with pytest.raises(dtask.PickleError, match="a Unpicklable, cannot be pickled: not to"):
        pool.submit(make_unpicklable).result(LONG)
    with pytest.raises(dtask.RemoteError, match="SystemExit"):
        pool.submit(make_exits_at_pickle).result(LONG)
    assert pool.submit(abs, -1).result(LONG) == 1


def test_what_cannot_be_unpickled(pool):
    with pytest.raises(ValueError, match="not to be unpickled"):
        pool.submit(abs, FailsThere()).result(LONG)
    with pytest.raises(dtask.RemoteError, match="SystemExit"):
        pool.submit(abs, ExitsThere()).result(LONG)
    with pytest.raises(dtask.PickleError, match="not to be unpickled"):
        pool.submit(make_fails_there).result(LONG)
    assert pool.submit(abs, -1).result(LONG) == 1


@pytest.mark.parametrize(
    "function, args",
    [(crash, ()), (abs, (CrashesThere(),)), (make_crashes_at_pickle, ()), (os._exit, (3,))],
    ids=["in the call", "at its arguments", "at its result", "exit"],
)
def test_a_crash_is_the_calls_own_affair(pool, function, args):
    future = pool.submit(function, *args)
    with pytest.raises(dtask.WorkerCrashed) as caught:
        future.result(LONG)
    assert caught.value.tries == 3 and (caught.value.signal == signal.SIGSEGV or args == (3,))
    assert "exited with code 3" in str(caught.value) or args != (3,)
    assert pool.submit(abs, -1).result(LONG) == 1, "the pool is not broken"


def test_crashes_with_large_arguments(pool):
    with pytest.raises(dtask.WorkerCrashed):
        list(pool.map(crash, ["a" * (1 << 20)] * 2))
    assert pool.submit(abs, -1).result(LONG) == 1


def test_exit_of_a_function_does_not_end_the_client(pool):
    with pytest.raises(dtask.RemoteError, match="SystemExit"):
        pool.submit(sys.exit, 1).result(LONG)


# Futures: the standard library's wait and as_completed, callbacks, cancel, asyncio.


def test_wait(pool, tmp_path):
    held = pool.submit(wait_for_file, tmp_path / "go")
    done = pool.submit(abs, -1)
    assert cf.wait([held, done], LONG, cf.FIRST_COMPLETED) == ({done}, {held})
    assert cf.wait([held, done], 0) == ({done}, {held})
    bad = pool.submit(raise_it, ValueError)
    assert cf.wait([held, bad], LONG, cf.FIRST_EXCEPTION) == ({bad}, {held})
    held_too = pool.submit(wait_for_file, tmp_path / "go")
    assert held_too.cancel()
    assert cf.wait([held, held_too], LONG, cf.FIRST_COMPLETED) == ({held_too}, {held})
    (tmp_path / "go").touch()
    assert cf.wait([held, done, bad, held], LONG).not_done == set()
    assert cf.wait([], 0) == (set(), set())


def test_as_completed(pool, tmp_path):
    held = pool.submit(wait_for_file, tmp_path / "go", "held")
    soon = [pool.submit(pow, 2, x) for x in range(4)]
    order = cf.as_completed([held, *soon, held], timeout=LONG)
    assert {next(order) for _ in range(4)} == set(soon)
    (tmp_path / "go").touch()
    assert [future.result() for future in order] == ["held"], "each once"
    with pytest.raises(cf.TimeoutError, match="1 .of 1. futures unfinished"):
        list(cf.as_completed([pool.submit(nap, LONG)], timeout=0.1))
    pool.shutdown(cancel_futures=True)


def test_result_timeout(pool):
    future = pool.submit(nap, LONG)
    for ask in (future.result, future.exception):
        with pytest.raises(cf.TimeoutError):
            ask(timeout=0)
    assert future.cancel()


def test_cancel(pool, tmp_path):
    running = pool.submit(nap, LONG)
    waiting = [pool.submit(nap, LONG) for _ in range(6)]
    for future in [running, *waiting]:
        assert future.cancel() and future.cancelled() and future.done() and not future.running()
        with pytest.raises(cf.CancelledError):
            future.result()
        with pytest.raises(cf.CancelledError):
            future.exception()
    finished = pool.submit(abs, -1)
    assert finished.result(LONG) == 1 and not finished.cancel() and not finished.cancelled()


def test_callbacks(pool):
    called, order = threading.Event(), []
    future = pool.submit(abs, -1)

    def bad(_):
        raise ValueError("in a callback")

    future.add_done_callback(bad)
    for number in range(3):
        future.add_done_callback(lambda _, number=number: order.append(number))
    future.add_done_callback(lambda one: called.set() if one is future else None)
    assert called.wait(LONG) and order == [0, 1, 2]
    future.add_done_callback(lambda _: order.append("at once"))
    assert order[-1] == "at once"
    chained, end = [], threading.Event()

    def again(one):
        chained.append(one.result())
        if chained[-1] == 3:
            end.set()
        else:
            pool.submit(abs, -1 - chained[-1]).add_done_callback(again)

    pool.submit(abs, -1).add_done_callback(again)
    assert end.wait(LONG) and chained == [1, 2, 3]


def test_asyncio(pool):
    async def run():
        loop = asyncio.get_running_loop()
        assert await asyncio.wrap_future(pool.submit(abs, -1)) == 1
        assert await loop.run_in_executor(pool, pow, 2, 5) == 32
        values = [loop.run_in_executor(pool, nap, 0.01, x) for x in range(5)]
        assert await asyncio.gather(*values) == list(range(5))
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(pool, divmod, 1, 0)
        future = pool.submit(nap, LONG)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(future), 0.1)
        assert future.cancelled()

    asyncio.run(run())

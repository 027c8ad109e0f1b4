# SPDX-License-Identifier: Apache-2.0
"""Tasks that are clients themselves: what their executor tells its worker while they wait."""

import concurrent.futures
import pickle
import threading
import time

import cloudpickle
import functions
import pytest
from scheduler import FakeScheduler
from test_executor_process import CALL, FUNCTION, RESULT, Process

import dtask
from dtask import _inputs, _nesting

BLOCKED, UNBLOCKED, CLUSTER, VOID_AHEAD = range(11, 15)


@pytest.fixture
def fake():
    with FakeScheduler("hold") as fake:
        yield fake


@pytest.fixture
def executor(tmp_path, fake):
    one = Process(tmp_path, DTASK_TOKEN=fake.token.hex(), DTASK_ADDRESS="an outer step's")
    one.send(CLUSTER, 0, 0, fake.address.encode())
    yield one
    one.process.kill()
    one.process.wait(20)


def submit(executor, function, *args, number=1, task=5, depth=0):
    body = _inputs.wrap_function(cloudpickle.dumps(function, 5), (), (), depth)
    executor.send(FUNCTION, number, 0, body)
    executor.send(CALL, number, task, pickle.dumps((args, {}), 5))


def answer(fake, number=0, value=7):
    body = pickle.dumps(value)
    fake.send({"t": "done", "k": [fake.tasks(number + 1)[number][0]], "len": [len(body)]}, body)


def by_result(client):
    return client.submit(abs, -7).result()


def by_exception(client):
    future = client.submit(abs, -7)
    assert future.exception(timeout=60) is None
    return future.result()


def by_gather(client):
    return client.gather([client.submit(abs, -7)])[0]


def by_wait(client):
    return client.wait([client.submit(abs, -7)]).done.pop().result()


def by_as_completed(client):
    return next(client.as_completed([client.submit(abs, -7)])).result()


def by_their_wait(client):
    futures = [client.submit(abs, -7)]
    return concurrent.futures.wait(futures).done.pop().result()


def by_their_as_completed(client):
    return next(concurrent.futures.as_completed([client.submit(abs, -7)], timeout=60)).result()


def by_pool(client):
    return next(client.get_executor().map(abs, [-7]))


def by_shutdown(client):
    pool = client.get_executor()
    future = pool.submit(abs, -7)
    pool.shutdown()
    return future.result(0)


WAYS = [
    by_result,
    by_exception,
    by_gather,
    by_wait,
    by_as_completed,
    by_their_wait,
    by_their_as_completed,
    by_pool,
    by_shutdown,
]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_waits_are_told(executor, fake, way):
    def task():
        import dtask

        with dtask.Client() as client:
            return way(client)

    submit(executor, task)
    assert executor.receive()[::2] == (BLOCKED, 5)
    executor.send(VOID_AHEAD, 0, 0)
    answer(fake)
    assert executor.receive()[::2] == (UNBLOCKED, 5)
    kind, _, task, body = executor.receive()
    assert (kind, task, pickle.loads(body)) == (RESULT, 5, 7)


def test_what_was_given_ahead_does_not_run(executor, fake):
    def task():
        import dtask

        with dtask.Client() as client:
            return client.submit(abs, -1).result() + client.submit(abs, -2).result()

    submit(executor, task)
    executor.send(FUNCTION, 2, 0, pickle.dumps(functions.inc))
    executor.send(CALL, 2, 6, pickle.dumps(((1,), {})))
    assert executor.receive()[0] == BLOCKED
    executor.send(CALL, 2, 7, pickle.dumps(((1,), {})))
    executor.send(VOID_AHEAD, 0, 0)
    answer(fake)
    assert executor.receive()[0] == UNBLOCKED
    executor.send(CALL, 2, 8, pickle.dumps(((1,), {})))  # before the worker knows of the next wait
    assert executor.receive()[0] == BLOCKED
    executor.send(VOID_AHEAD, 0, 0)
    executor.send(CALL, 2, 9, pickle.dumps(((1,), {})))
    answer(fake, 1)
    assert executor.receive()[0] == UNBLOCKED
    kind, _, task, body = executor.receive()
    assert (kind, task, pickle.loads(body)) == (RESULT, 5, 14)
    kind, _, task, body = executor.receive()
    assert (kind, task, pickle.loads(body)) == (RESULT, 9, 2)


def test_waits_that_are_none_of_its_own_are_not_told(executor, fake):
    def task():
        import os
        import threading

        import dtask

        with dtask.Client() as client:
            future = client.submit(abs, -1)
            try:
                future.result(0.001)  # too short to be worth it
            except dtask.TimeoutError:
                pass
            thread = threading.Thread(target=wait, args=(future,))
            thread.start()
            thread.join()
            child = os.fork()
            if child == 0:
                try:
                    with dtask.Client() as own:
                        wait(own.submit(abs, -1))
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            future.cancel()
        return "done"

    def wait(future):
        import dtask

        try:
            future.result(0.1)
        except dtask.TimeoutError:
            pass

    submit(executor, task)
    kind, _, _, body = executor.receive()
    assert (kind, pickle.loads(body)) == (RESULT, "done")


def test_deep_tasks_come_first(executor, fake):
    def task(priority):
        import dtask

        with dtask.Client() as client:
            client.submit(abs, -1, priority=priority)
            client.map(abs, [-1])
            client.submit(lambda: None)
        return None

    for depth, priority in ((0, 0), (3, 10)):
        submit(executor, task, priority, number=depth + 1, depth=depth)
        assert executor.receive()[0] == RESULT
    priorities = [frame[0]["priority"] for frame in fake.expect("submit", 6)]
    assert priorities == [1, 1, 1, 14, 4, 4]
    depths = [pickle.loads(body).depth for _, body in fake.expect("function", 4)]
    assert depths == [1, 1, 4, 4]


def test_the_steps_client_is_at_the_top(client):
    assert _nesting.level() == 0
    assert not isinstance(pickle.loads(_inputs.wrap_function(pickle.dumps(abs), ())), _nesting.Nested)


def _result(future):
    return future.result(20)


def _as_completed(future):
    return next(dtask.as_completed([future], timeout=20)).result()


@pytest.mark.parametrize("wait", [_result, _as_completed])
def test_what_comes_as_the_grace_ends_is_seen(start, monkeypatch, wait):
    """The result comes while the lock is held beyond GRACE: who wakes then may find it there."""
    fake, client = start("hold")
    monkeypatch.setattr(_nesting.call, "tell", lambda begins: None)
    monkeypatch.setattr(_nesting.call, "thread", threading.get_ident())

    def hold(future, number):
        time.sleep(_nesting.GRACE / 2)  # the other one waits by then
        with future._session.settling:
            answer(fake, number)
            time.sleep(2 * _nesting.GRACE)

    for number in range(40):
        future = client.submit(abs, -7)
        fake.tasks(number + 1)
        holder = threading.Thread(target=hold, args=(future, number))
        holder.start()
        began = time.monotonic()
        assert wait(future) == 7
        assert time.monotonic() - began < 10
        holder.join()

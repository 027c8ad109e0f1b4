# SPDX-License-Identifier: Apache-2.0
"""dtask.Executor as a concurrent.futures.Executor."""

import concurrent.futures

import functions
import pytest

import dtask


def test_submit_and_map(client):
    with dtask.Executor(client=client) as pool:
        assert isinstance(pool, concurrent.futures.Executor) and pool._max_workers == 2
        assert pool.submit(functions.echo, 1, x=2).result(10) == ((1,), {"x": 2})
        assert list(pool.map(functions.add, range(4), range(4), timeout=10)) == [0, 2, 4, 6]
        assert list(pool.map(functions.inc, [])) == []
    assert client.submit(functions.inc, 1).result(10) == 2, "a client given to it stays open"


@pytest.mark.parametrize("size", [1, 3, 100])
def test_chunks(start, size):
    fake, client = start("run")
    pool = client.get_executor()
    assert list(pool.map(functions.add, range(10), range(10), chunksize=size, timeout=10)) == [
        2 * x for x in range(10)
    ]
    assert len(fake.tasks(1)) == -(-10 // size)
    with pytest.raises(ValueError, match="chunksize"):
        pool.map(functions.inc, [1], chunksize=0)
    with pytest.raises(ValueError, match="'auto'"):
        pool.map(functions.inc, [1], chunksize="some")


def test_chunks_of_its_own_size(start):
    from dtask import _executor_pool

    chunks = [len(one) for (one,) in _executor_pool._chunks([range(100)], None, 4)]
    assert sum(chunks) == 100 and chunks[0] == 13 and chunks[-1] == 1
    assert chunks == sorted(chunks, reverse=True)
    fake, client = start("run")
    pool = client.get_executor()

    def auto(*iterables, function=functions.add):
        return list(pool.map(function, *iterables, chunksize="auto", timeout=10))

    assert auto(range(1000), range(1000)) == [2 * n for n in range(1000)]
    assert auto([1, 2, 3], (n for n in (1, 2))) == [2, 4]
    assert auto({1: 2, 3: 4}, function=functions.inc) == [2, 4]
    assert auto([]) == []
    with pytest.raises(TypeError):
        auto([1, "x"], function=functions.inc)


def test_buffersize(start):
    fake, client = start("run")
    taken = []

    def items():
        for x in range(100):
            taken.append(x)
            yield x

    results = client.get_executor().map(functions.inc, items(), buffersize=3, timeout=10)
    assert next(results) == 1 and len(taken) == 4
    assert list(results) == list(range(2, 101))


def test_keywords_are_the_functions(client):
    pool = client.get_executor()
    assert pool.submit(functions.echo, retries=1, key="k").result(10)[1] == {"retries": 1, "key": "k"}


def test_errors(client):
    pool = client.get_executor()
    results = pool.map(functions.fail_on_odd, range(3))
    assert next(results) == 0
    with pytest.raises(ValueError, match="odd: 1"):
        next(results)
    with pytest.raises(ValueError, match="max_workers"):
        dtask.Executor(0, client=client)


def test_map_times_out_and_cancels(start):
    fake, client = start("hold")
    results = client.get_executor().map(functions.inc, range(3), timeout=0.01)
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    assert len(fake.expect("cancel")[0][0]["k"]) == 3


def test_shutdown(start, monkeypatch):
    fake, client = start("hold")
    pool = client.get_executor(max_workers=5)
    assert pool._max_workers == 5
    future = pool.submit(functions.inc, 1)
    pool.shutdown(wait=False)
    for call in (lambda: pool.submit(functions.inc, 1), lambda: pool.map(functions.inc, [1])):
        with pytest.raises(RuntimeError, match="after shutdown"):
            call()
    assert not future.done()
    pool.shutdown(cancel_futures=True)
    assert future.cancelled()
    monkeypatch.setenv("DTASK_ADDRESS", fake.address)
    monkeypatch.setenv("DTASK_TOKEN", fake.token.hex())
    fake.answer = "run"
    with dtask.Executor() as own:
        future = own.submit(functions.inc, 1)
    assert future.result(0) == 2
    with pytest.raises(dtask.ClusterLost):
        own._client.workers()


def test_lost(start):
    fake, client = start("hold")
    future = client.get_executor().submit(functions.inc, 1)
    fake.tasks(1)
    fake.drop()
    with pytest.raises(concurrent.futures.BrokenExecutor):
        future.result(10)

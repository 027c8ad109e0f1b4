# SPDX-License-Identifier: Apache-2.0
"""Futures of a fake scheduler's client: gathered, waited for, given as arguments, cancelled."""

import asyncio
import concurrent.futures
import errno
import pickle
import threading

import functions
import pytest

import dtask


def test_gather_shapes(client):
    a, b, c = client.map(functions.inc, range(3))
    assert client.gather(a) == 1
    assert client.gather([a, [b, (c,)], {"x": c, "y": {a}}]) == [1, [2, (3,)], {"x": 3, "y": {1}}]
    assert client.gather(future for future in (c, a)) == [3, 1]
    assert client.gather([]) == []
    with pytest.raises(TypeError, match="expected futures, got int"):
        client.gather([1])


def test_gather_errors(client):
    futures = client.map(functions.fail_on_odd, range(6))
    with pytest.raises(ValueError, match="odd: 1"):
        client.gather(futures)
    assert client.gather(futures, errors="skip") == [0, 2, 4]
    with pytest.raises(ValueError, match="errors="):
        client.gather(futures, errors="ignore")


def test_gather_raises_before_all_have_ended(start):
    fake, client = start("hold")
    futures = client.map(functions.inc, range(3))
    number = fake.tasks(3)[1][0]
    fake.send({"t": "failed", "k": number, "kind": "crashed", "message": "", "exit": 4})
    with pytest.raises(dtask.WorkerCrashed, match="exited with code 4"):
        client.gather(futures)
    assert [future.status for future in futures] == ["pending", "error", "pending"]


def test_results_are_unpickled_when_asked_for(start):
    fake, client = start("hold")
    future = client.submit(functions.inc, 1)
    raw = pickle.dumps(functions.Unloadable())
    fake.send({"t": "done", "k": [fake.tasks(1)[0][0]], "len": [len(raw)]}, raw)
    dtask.wait(future, 10)
    assert future.status == "finished"
    with pytest.raises(dtask.PickleError, match="inc-.* cannot be unpickled.*cannot be loaded"):
        future.result(10)
    assert future.status == "error"


def test_a_result_is_unpickled_once(client):
    future = client.submit(list)
    assert future.result(10) is future.result(10)


def test_as_completed(start):
    fake, client = start("hold")
    futures = client.map(functions.inc, range(3))
    numbers = [number for number, _, _ in fake.tasks(3)]
    raw = pickle.dumps("x")
    order = dtask.as_completed(futures, timeout=10)
    for index in (2, 0, 1):
        fake.send({"t": "done", "k": [numbers[index]], "len": [len(raw)]}, raw)
        assert next(order) is futures[index]
    assert list(order) == [] and order.is_empty()


def test_as_completed_of_a_growing_set(client):
    order = client.as_completed(client.map(functions.inc, range(3)), with_results=True)
    seen = []
    for _, value in order:
        seen.append(value)
        if value < 10:
            order.add(client.submit(functions.add, value, 10))
    assert sorted(seen) == [1, 2, 3, 11, 12, 13]


def test_as_completed_batches_and_errors(client):
    futures = client.map(functions.fail_on_odd, range(4))
    found = [pair for batch in dtask.as_completed(futures, True, False).batches() for pair in batch]
    values = dict(found)
    assert values[futures[2]] == 2 and isinstance(values[futures[3]], ValueError)
    with pytest.raises(ValueError, match="odd"):
        list(dtask.as_completed(futures, with_results=True))


def test_time_outs(start):
    _, client = start("hold")
    future = client.submit(functions.inc, 1)
    for wait in (
        lambda: future.result(0.01),
        lambda: future.exception(0.01),
        lambda: dtask.wait([future], 0.01),
        lambda: next(dtask.as_completed([future], timeout=0.01)),
        lambda: client.wait_for_workers(3, timeout=0.01),
    ):
        with pytest.raises(dtask.TimeoutError) as caught:
            wait()
        assert isinstance(caught.value, (TimeoutError, concurrent.futures.TimeoutError))


def test_wait(start):
    fake, client = start("hold")
    futures = client.map(functions.inc, range(3))
    numbers = [number for number, _, _ in fake.tasks(3)]
    raw = pickle.dumps(1)
    fake.send({"t": "done", "k": [numbers[0]], "len": [len(raw)]}, raw)
    done, rest = client.wait(futures, 10, return_when="FIRST_COMPLETED")
    assert done == {futures[0]} and rest == set(futures[1:])
    fake.send({"t": "failed", "k": numbers[2], "kind": "lost", "message": "gone"})
    done, rest = client.wait(futures, 10, return_when="FIRST_EXCEPTION")
    assert futures[2] in done and rest == {futures[1]}
    with pytest.raises(ValueError, match="return_when"):
        client.wait(futures, return_when="SOON")


def test_concurrent_futures_and_asyncio_work_on_them(client):
    futures = client.map(functions.inc, range(4))
    assert {f.result() for f in concurrent.futures.as_completed(futures, 10)} == {1, 2, 3, 4}
    done, rest = concurrent.futures.wait(client.map(functions.inc, range(4)), 10)
    assert len(done) == 4 and not rest

    async def main():
        return await asyncio.wrap_future(client.submit(functions.inc, 41))

    assert asyncio.run(main()) == 42


def test_futures_as_arguments(start):
    fake, client = start("run")
    one = client.submit(functions.inc, 0)
    deep = client.submit(functions.echo, [one, {"x": (one,)}], y=one)
    assert deep.result(10) == (([1, {"x": (1,)}],), {"y": 1})
    chain = one
    for _ in range(50):
        chain = client.submit(functions.inc, chain)
    assert chain.result(10) == 51
    total = client.submit(functions.add, *client.map(functions.inc, client.map(functions.inc, range(9))))
    assert total.result(10) == sum(range(9)) + 18


def test_tasks_are_numbered_as_they_are_sent(start):
    """Those that are held back as well, and whichever thread sends them: see the fake."""
    fake, client = start("run")
    first = client.submit(functions.inc, 0)
    held = [client.submit(functions.add, first, x) for x in range(100)]
    more = client.map(functions.inc, range(100))
    assert client.gather(held) == [1 + x for x in range(100)]
    assert client.gather(more) == list(range(1, 101))

    def both(x):
        return client.submit(functions.inc, client.submit(functions.inc, x)).result(20)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(both, range(300), timeout=60)) == list(range(2, 302))


def test_arguments_are_taken_at_submit(start):
    fake, client = start("hold")
    first = client.submit(functions.inc, 0)
    items = [1]
    second = client.submit(functions.echo, items, first)
    items.append(2)
    assert len(fake.tasks(1)) == 1, "the second waits for the first"
    raw = pickle.dumps("input")
    fake.send({"t": "done", "k": [fake.tasks(1)[0][0]], "len": [len(raw)]}, raw)
    _, _, data = fake.tasks(2)[1]
    assert pickle.loads(data) == (([1], "input"), {})
    assert first.result(0) == "input" and not second.done()


def test_inputs_that_fail(client):
    failed = client.submit(functions.fail, "first")
    second = client.submit(functions.inc, failed)
    third = client.submit(functions.inc, second)
    with pytest.raises(ValueError, match="first") as caught:
        third.result(10)
    assert "in fail" in str(caught.value.__cause__)


def test_a_generator_may_submit(client):
    outer = client.map(functions.inc, (client.submit(functions.inc, x) for x in range(5)))
    assert client.gather(outer) == [2, 3, 4, 5, 6]


def test_a_failure_reaches_the_end_of_a_long_chain(client):
    future = client.submit(functions.fail, "at the root")
    for _ in range(3000):
        future = client.submit(functions.inc, future)
    with pytest.raises(ValueError, match="at the root"):
        future.result(60)


def test_a_future_stays_here(client):
    future = client.submit(functions.inc, 1)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(future)
    with pytest.raises(dtask.PickleError, match="not captured by its function"):
        client.submit(lambda: future)


def answer(fake, index, value):
    """Answer a task of a fake that holds them."""
    raw = pickle.dumps(value)
    fake.send({"t": "done", "k": [fake.tasks(index + 1)[index][0]], "len": [len(raw)]}, raw)


def test_done_callbacks_may_submit(start):
    fake, client = start("hold")
    seen = []
    ended = threading.Event()

    def more(future):
        inner = client.submit(functions.inc, future.result())
        inner.add_done_callback(lambda f: (seen.append(f.result()), ended.set()))

    client.submit(functions.inc, 1).add_done_callback(more)
    answer(fake, 0, 10)
    answer(fake, 1, 11)
    assert ended.wait(10) and seen == [11]


def test_a_done_callback_that_would_wait_is_told(start):
    fake, client = start("hold")
    caught = []
    ended = threading.Event()

    def bad(_):
        try:
            client.submit(functions.inc, 1).result()
        except RuntimeError as error:
            caught.append(str(error))
        ended.set()

    client.submit(functions.inc, 1).add_done_callback(bad)
    answer(fake, 0, 1)
    assert ended.wait(10) and "done callback" in caught[0]


def test_cancel(start):
    fake, client = start("hold")
    a, b, c = client.map(functions.inc, range(3))
    numbers = [number for number, _, _ in fake.tasks(3)]
    held = client.submit(functions.inc, b)
    assert a.cancel() and not a.cancel() and a.status == "cancelled"
    client.cancel([{"x": b}, c])
    first, second = fake.expect("cancel", 2)
    assert first[0]["k"] == [numbers[0]] and second[0]["k"] == numbers[1:]
    assert held.cancelled()
    for future in (a, b, c, held):
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(10)
    raw = pickle.dumps(1)
    fake.send({"t": "done", "k": numbers, "len": [len(raw)] * 3}, raw * 3)  # it was too late
    fake.send({"t": "workers", "n": 1, "expected": 2})
    assert client.gather([a, b, c], errors="skip") == []


def test_cancel_by_the_scheduler(start):
    fake, client = start("hold")
    future = client.submit(functions.inc, 1)
    fake.send({"t": "failed", "k": fake.tasks(1)[0][0], "kind": "cancelled", "message": ""})
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(10)


def test_no_room_for_an_input(start):
    fake, client = start("hold")
    future = client.submit(functions.inc, 1, key="job")
    number = fake.tasks(1)[0][0]
    why = "no room for the 100 bytes of its input inc-3: /disk has 0.5 of 64.0 MiB free"
    about = {"k": number, "kind": "full", "message": f"inc-{number}: {why}", "tries": 3}
    fake.send({"t": "failed", **about, "worker": "n1.0", "node": "n1"})
    with pytest.raises(OSError) as caught:
        future.result(10)
    assert caught.value.errno == errno.ENOSPC
    assert str(caught.value) == f"[Errno 28] job: {why}, worker n1.0 on node n1"


class Opens:
    """A value whose unpickling runs `opening`."""

    opening = None

    def __reduce__(self):
        return Opens._open, ()

    @staticmethod
    def _open():
        return Opens.opening()


def make_opens():
    return Opens()


def test_a_value_that_waits_while_it_is_unpickled(client):
    """It holds up no other thread, and is unpickled once."""
    value, other = client.submit(make_opens), client.submit(functions.inc, 1)
    started, opened = threading.Event(), []

    def opening():
        opened.append(started.set())
        thread = threading.Thread(target=lambda: opened.append(other.result(10)))
        thread.start()
        thread.join(10)
        return object()

    Opens.opening = staticmethod(opening)
    values = []
    second = threading.Thread(target=lambda: started.wait(10) and values.append(value.result(10)))
    second.start()
    values.append(value.result(10))
    second.join(10)
    assert opened == [None, 2]
    assert len(values) == 2 and values[0] is values[1]


def test_what_nobody_waits_for_is_light(client):
    """A future has nothing of its own but what is its own."""
    future = client.submit(functions.inc, 1)
    assert future.result(10) == 2
    again = client.submit(functions.inc, 1)
    assert client.submit(functions.inc, 2).result(10) == 3
    assert again.done()
    assert not again._watched and not set(vars(again)) & {"_condition", "_waiters"}


def test_a_key_is_the_name_that_the_scheduler_has(start):
    fake, client = start("hold")
    first = client.submit(functions.inc, 0)
    late = client.submit(functions.inc, first)  # held until its input has come
    assert late.key == "inc-2", "it has its number before it is sent"
    other = client.submit(functions.inc, 2)
    assert (first.key, other.key) == ("inc-1", "inc-3")
    assert [number for number, _, _ in fake.tasks(2)] == [1, 3]
    raw = pickle.dumps(1)
    fake.send({"t": "done", "k": [1], "len": [len(raw)]}, raw)
    assert fake.tasks(3)[2][0] == 2

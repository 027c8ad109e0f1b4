# SPDX-License-Identifier: Apache-2.0
"""Values that stay on workers, from the client's side: fetched, lost, released."""

import gc
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import functions
import pytest
import wire
from store import BIG, packed

import dtask


@pytest.fixture
def told(start):
    """A held task whose value the test places: told(stores) -> (fake, client, future, its k)."""

    def told(stores=2):
        fake, client = start("hold", stores=stores)
        future = client.submit(bytes, BIG)
        return fake, client, future, fake.tasks(1)[0][0]

    return told


def place(fake, k, store, value=None):
    """Tell that the value of k is in a store, and put it there unless it is None."""
    where = {"d": 40, "size": 1, "at": store.address}
    if value is not None:
        where = store.put(40, value)
    fake.send({"t": "stored", "k": k, **where})


def released(fake, count):
    """Wait until that many values have been released; their numbers, a list for each message."""
    frames = fake.expect("release")
    while sum(len(header["k"]) for header, _ in frames) < count:
        frames = fake.expect("release", len(frames) + 1)
    return [header["k"] for header, _ in frames]


def background(function):
    """Run a function in a thread; the future of its result."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(function)
    finally:
        pool.shutdown(wait=False)


# Fetching.


def test_a_value_comes_when_it_is_asked_for(start):
    fake, client = start("run", stores=1)
    ended = threading.Event()
    future = client.submit(bytes, BIG)
    future.add_done_callback(lambda _: ended.set())
    dtask.wait([future], 20)
    assert ended.wait(20) and future.done() and future.status == "finished"
    assert future.exception() is None and future.traceback() is None
    assert fake.stores[0].asked == []
    assert future.result(20) == bytes(BIG)
    assert future.result(20) is future.result(20)
    assert len(fake.stores[0].asked) == 1


def test_everything_that_asks_for_results(start):
    fake, client = start("run", stores=1)
    sizes = [10, BIG, BIG + 1, 20]
    values = [bytes(size) for size in sizes]
    futures = client.map(bytes, sizes)
    bad = client.submit(functions.fail)
    assert client.gather(futures) == values
    assert client.gather([*client.map(bytes, sizes), bad], errors="skip") == values
    pairs = dtask.as_completed(client.map(bytes, sizes), with_results=True)
    assert sorted(len(value) for _, value in pairs) == sorted(sizes)
    with client.get_executor() as pool:
        assert list(pool.map(bytes, sizes, timeout=60)) == values
    assert fake.stores[0].accepted == 1, "the connection is kept"


def test_on_the_node_of_its_worker_a_value_is_read_from_its_file(start, tmp_path):
    fake, client = start("run", stores=1)
    fake.stores[0].store = str(tmp_path)
    sizes = [BIG, 5 << 20, BIG + 1, 1 << 20]
    assert client.gather(client.map(bytes, sizes)) == [bytes(size) for size in sizes]
    assert client.submit(bytes, BIG).result(20) == bytes(BIG)
    assert fake.stores[0].asked == [] and fake.stores[0].accepted == 1


def test_where_its_file_has_gone_the_worker_is_asked(start, tmp_path):
    fake, client = start("run", stores=1)
    fake.stores[0].store = str(tmp_path)
    futures = client.map(bytes, [BIG] * 4)
    dtask.wait(futures, 20)
    for name in os.listdir(tmp_path)[:2]:
        os.unlink(tmp_path / name)
    assert client.gather(futures) == [bytes(BIG)] * 4
    assert len(fake.stores[0].asked) == 2


def test_many_values_come_over_one_connection(start):
    fake, client = start("run", stores=1)
    sizes = [BIG + n for n in range(100)]
    futures = client.map(bytes, sizes)
    assert client.gather(futures) == [bytes(size) for size in sizes]
    assert len(fake.stores[0].asked) == 100 and fake.stores[0].accepted == 1


@pytest.mark.parametrize("size", [BIG, 2 << 20])
def test_one_of_many_values_is_not_there(start, size):
    fake, client = start("run", stores=2)
    futures = client.map(bytes, range(size, size + 20))
    dtask.wait(futures, 20)
    first, second = fake.stores
    number = next(n for n, data in first.values.items() if len(data) == len(packed(bytes(size + 7))))
    del first.values[number]
    result = background(lambda: client.gather(futures))
    ((lost, _),) = fake.expect("lost")
    fake.send({"t": "stored", "k": lost["k"], **second.put(number, bytes(size + 7))})
    assert result.result(60) == [bytes(size + n) for n in range(20)]


def test_arrays_are_views_of_what_came(start):
    numpy = pytest.importorskip("numpy")
    fake, client = start("run", stores=1)
    value = client.submit(numpy.arange, 1_000_000).result(60)
    assert (value == numpy.arange(1_000_000)).all()
    assert not value.flags.writeable and not value.flags.owndata


def test_threads_that_ask_at_once_fetch_once(told):
    fake, client, future, k = told(1)
    fake.stores[0].hold = threading.Event()
    place(fake, k, fake.stores[0], bytes(BIG))
    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(future.result, 60) for _ in range(4)]
        fake.stores[0].hold.set()
        assert len({id(result.result(60)) for result in results}) == 1
    assert len(fake.stores[0].asked) == 1


def test_a_value_that_cannot_be_unpickled(told):
    fake, client, future, k = told(1)
    place(fake, k, fake.stores[0], functions.Unloadable())
    with pytest.raises(dtask.PickleError, match="cannot be unpickled.*cannot be loaded"):
        future.result(20)
    assert future.status == "error"


def test_in_a_done_callback(told):
    fake, client, future, k = told(1)
    seen, ended = [], threading.Event()
    future.add_done_callback(lambda one: (seen.append(one.result()), ended.set()))
    place(fake, k, fake.stores[0], bytes(BIG))
    assert ended.wait(20) and seen == [bytes(BIG)]


def test_in_a_done_callback_nobody_waits_for_another_place(told):
    fake, client, future, k = told(2)
    caught, ended = [], threading.Event()

    def ask(one):
        try:
            one.result()
        except RuntimeError as error:
            caught.append(str(error))
        ended.set()

    future.add_done_callback(ask)
    place(fake, k, fake.stores[0])
    assert ended.wait(20) and "done callback" in caught[0]
    assert fake.expect("lost")[0][0]["k"] == k
    place(fake, k, fake.stores[1], bytes(BIG))
    assert future.result(20) == bytes(BIG)


# Losing.


def gone(store):
    pass


def refused(store):
    store.close()


def cut(store):
    store.put(40, bytes(BIG))
    store.cut = 5000


@pytest.mark.parametrize("trouble", [gone, refused, cut])
def test_a_value_that_is_not_there_comes_from_elsewhere(told, trouble):
    fake, client, future, k = told(2)
    first, second = fake.stores
    trouble(first)
    place(fake, k, first)
    result = background(lambda: future.result(60))
    ((lost, _),) = fake.expect("lost")
    assert lost == {"t": "lost", "k": k, "at": first.address}
    assert not result.done() and future.done()
    place(fake, k, second, bytes(BIG))
    assert result.result(60) == bytes(BIG)
    assert len(fake.expect("lost")) == 1


@pytest.mark.parametrize("count", [1, 3])
def test_a_value_is_not_lost_to_a_crowd_at_its_worker_s_door(start, count):
    fake, client = start("run", stores=1)
    fake.stores[0].shut = 2
    futures = client.map(bytes, range(BIG, BIG + count))
    result = background(lambda: client.gather(futures))
    assert result.result(60) == [bytes(BIG + n) for n in range(count)]
    assert fake.stores[0].shut == 0 and fake.stores[0].accepted == 1
    client.info()
    assert not [header for header, _ in fake.received if header["t"] == "lost"]


def test_a_door_that_stays_shut(told):
    """Who has a time-out waits so long, and no longer; others until they give it up."""
    fake, client, future, k = told(2)
    first, second = fake.stores
    first.shut = 10_000
    place(fake, k, first, bytes(BIG))
    client.info()
    with pytest.raises(dtask.TimeoutError):
        future.result(0.3)
    client.info()
    assert not [header for header, _ in fake.received if header["t"] == "lost"]
    result = background(lambda: future.result(60))
    fake.expect("lost")
    assert 10_000 - first.shut > 5
    place(fake, k, second, bytes(BIG))
    assert result.result(60) == bytes(BIG)


def test_it_may_be_where_it_was(told):
    """Lost there, made anew there."""
    fake, client, future, k = told(1)
    place(fake, k, fake.stores[0])
    result = background(lambda: future.result(60))
    fake.expect("lost")
    place(fake, k, fake.stores[0], bytes(BIG))
    assert result.result(60) == bytes(BIG)


def test_a_value_that_has_moved_before_it_is_asked_for(told):
    fake, client, future, k = told(2)
    place(fake, k, fake.stores[0])
    place(fake, k, fake.stores[1], bytes(BIG))
    client.info()  # both have been dealt with
    assert future.result(20) == bytes(BIG)
    assert fake.stores[0].asked == []


def test_a_value_that_is_small_when_it_is_made_again(told):
    """It comes as a result; the value is released all the same."""
    fake, client, future, k = told(1)
    place(fake, k, fake.stores[0])
    result = background(lambda: future.result(60))
    fake.expect("lost")
    body = pickle.dumps("small")
    fake.send({"t": "done", "k": [k], "len": [len(body)]}, body)
    assert result.result(60) == "small" and future.status == "finished"
    del future, result
    assert released(fake, 1) == [[k]]


def test_a_value_that_is_lost_for_good(told):
    fake, client, future, k = told(1)
    place(fake, k, fake.stores[0])
    result = background(lambda: future.result(60))
    fake.expect("lost")
    dependent = client.submit(len, future)
    fake.expect("graph")
    fake.send({"t": "failed", "k": k, "kind": "crashed", "message": "", "signal": 9, "tries": 3})
    with pytest.raises(dtask.WorkerCrashed, match="SIGKILL"):
        result.result(60)
    assert future.status == "error" and isinstance(future.exception(), dtask.WorkerCrashed)
    assert not dependent.done(), "that is for the scheduler to say"
    with pytest.raises(dtask.WorkerCrashed):
        client.submit(len, future).result(20)


def test_a_failure_with_an_exception_of_the_function(told):
    fake, client, future, k = told(1)
    place(fake, k, fake.stores[0])
    body = pickle.dumps((pickle.dumps(ValueError("second time")), "ValueError", "", "trace"))
    fake.send({"t": "failed", "k": k, "kind": "raised", "message": "", "tries": 1}, body)
    client.info()
    with pytest.raises(ValueError, match="second time"):
        client.gather([future])
    assert future.traceback() == "trace"


def test_the_time_out_bounds_it_all(told):
    fake, client, future, k = told(1)
    place(fake, k, fake.stores[0])
    for _ in range(2):
        with pytest.raises(dtask.TimeoutError, match="the value of bytes-1 has not come within"):
            future.result(0.3)
    assert len(fake.expect("lost")) == 1, "it is told once"
    fake.stores[0].hold = threading.Event()
    place(fake, k, fake.stores[0], bytes(BIG))
    client.info()
    with pytest.raises(dtask.TimeoutError):
        future.result(0.3)
    fake.stores[0].hold.set()
    assert len(fake.expect("lost")) == 1, "a slow worker has not lost it"
    assert future.result(60) == bytes(BIG)


def test_the_cluster_is_lost_meanwhile(told):
    fake, client, future, k = told(1)
    place(fake, k, fake.stores[0])
    result = background(lambda: future.result(60))
    fake.expect("lost")
    fake.drop()
    with pytest.raises(dtask.ClusterLost, match="closed the connection"):
        result.result(60)
    assert future.status == "lost"


def test_the_cluster_is_lost_before(told):
    fake, client, future, k = told(1)
    place(fake, k, fake.stores[0], bytes(BIG))
    dtask.wait([future], 20)
    client.close()
    with pytest.raises(dtask.ClusterLost, match="bytes-1: the client is closed"):
        future.result(20)


@pytest.mark.parametrize("bad", [{"at": "nowhere"}, {"at": 5}, {}])
def test_a_scheduler_that_breaks_the_protocol(told, bad):
    fake, client, future, k = told(1)
    fake.send({"t": "stored", "k": k, "d": 1, "size": 1, **bad})
    with pytest.raises(dtask.ClusterLost, match="the scheduler (sent|broke)"):
        future.result(20)


# Releasing.


def test_a_value_is_released_with_its_future(start):
    fake, client = start("run", stores=1)
    futures = client.map(bytes, [BIG] * 3)
    small = client.submit(functions.inc, 1)
    client.gather([futures, small])
    numbers = [future._number for future in futures]
    del small
    client.info()
    assert not [header for header, _ in fake.received if header["t"] == "release"]
    del futures[0]
    assert released(fake, 1) == [numbers[:1]]
    del futures
    assert sorted(sum(released(fake, 3), [])) == numbers
    client.info()
    assert fake.stores[0].values == {}


def test_releases_are_batched(start):
    fake, client = start("run", stores=1)
    futures = client.map(bytes, [BIG] * 100)
    dtask.wait(futures, 60)
    client.info()  # the receiver has let go of the last one
    with client._session.connection._lock:  # whoever drops a future may hold this lock
        del futures
    assert list(map(sorted, released(fake, 100))) == [list(range(1, 101))]


def test_a_future_in_a_cycle(start):
    fake, client = start("run", stores=1)
    future = client.submit(bytes, BIG)
    future.result(20)
    future.itself = future
    del future
    gc.collect()
    fake.expect("release")


def test_a_future_that_nobody_kept(start):
    fake, client = start("run", stores=1)
    client.submit(bytes, BIG)
    assert fake.expect("release")[0][0]["k"] == [1]


def test_a_value_that_came_too_late(told):
    fake, client, future, k = told(1)
    future.cancel()
    place(fake, k, fake.stores[0], bytes(BIG))
    assert fake.expect("release")[0][0]["k"] == [k]


def test_after_a_fork_nothing_is_sent(told):
    fake, client, future, k = told(1)
    place(fake, k, fake.stores[0], bytes(BIG))
    dtask.wait([future], 20)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            future.result()
        except dtask.ClusterLost as error:
            os.write(write, str(error).encode())
        del future
        gc.collect()
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        assert "forked" in file.read()
    assert os.waitpid(pid, 0)[1] == 0
    assert future.result(20) == bytes(BIG)
    client.info()
    assert {header["t"] for header, _ in fake.received} == {"function", "submit", "info"}


# As inputs.


def test_what_a_frame_sets_free_goes_together(told):
    fake, client, future, k = told(1)
    dependents = [client.submit(functions.size_of, future, b"x" * i) for i in range(50)]
    place(fake, k, fake.stores[0], bytes(BIG))
    ((header, _),) = fake.expect("graph")
    assert header["in"] == [k] * 50 and len(set(header["k"])) == 50
    del future
    types = [header["t"] for header, _ in fake.expect("release") and fake.received]
    assert types.index("graph") < types.index("release")
    assert not any(dependent.done() for dependent in dependents)


# The bytes.


@pytest.mark.parametrize(
    "answer",
    [
        wire.frame({"t": "data", "size": "1"}, b"x"),
        wire.frame({"t": "data", "size": 1}, b"xy"),
        wire.frame({"t": "data", "size": -1}, b"x"),
        wire.frame({"t": "data", "size": 1}),
        wire.frame({"t": "weather"}),
        b"\xff" * 16,
        wire.frame({"t": "data", "size": 3}, b"x") + wire.frame({"t": "data", "size": 2}, b"x"),
        wire.frame({"t": "data", "size": 100}, bytes(100)),
    ],
)
def test_a_worker_that_breaks_the_protocol(told, answer):
    fake, client, future, k = told(2)
    fake.stores[0]._answer = lambda connection, _: connection.sendall(answer)
    place(fake, k, fake.stores[0])
    result = background(lambda: future.result(60))
    if b'"size": 100}' in answer:  # well-formed pieces of what is no value
        with pytest.raises(dtask.PickleError, match="not a stored value"):
            result.result(60)
        return
    fake.expect("lost")
    place(fake, k, fake.stores[1], bytes(BIG))
    assert result.result(60) == bytes(BIG)


def test_values_in_pieces(told):
    fake, client, future, k = told(1)
    fake.stores[0]._piece = 4000
    value = functions.make_blocks(10, BIG, BIG)
    place(fake, k, fake.stores[0], value)
    found = future.result(60)
    assert [block.data for block in found] == [block.data for block in value]
    assert packed(found) == packed(value)

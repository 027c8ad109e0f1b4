# SPDX-License-Identifier: Apache-2.0
"""Client against the fake scheduler: what it sends, and what users get."""

import concurrent.futures
import functools
import json
import os
import pickle
import threading

import functions
import pytest
from scheduler import FakeScheduler

import dtask
from dtask import Client


def test_submit(client):
    future = client.submit(functions.echo, 1, "a", x=2)
    assert future.result(10) == ((1, "a"), {"x": 2})
    assert future.status == "finished" and future.done() and future.exception() is None
    assert future.key.startswith("echo-") and future.key in repr(future)
    assert isinstance(future, concurrent.futures.Future)


def test_submit_on_the_wire(start):
    fake, client = start("hold")
    client.submit(functions.inc, 1, retries=3, priority=-2)
    client.submit(functions.inc, 2)
    ((function, body),) = fake.expect("function")
    assert function["name"] == "inc" and pickle.loads(body) is functions.inc
    first, second = fake.expect("submit", 2)
    assert first[0]["retries"] == 3 and first[0]["priority"] == -2
    assert first[0]["f"] == second[0]["f"] == function["f"]
    assert pickle.loads(first[1]) == ((1,), {}) and pickle.loads(second[1]) == ((2,), {})
    assert len({first[0]["k"][0], second[0]["k"][0]}) == 2
    assert len(fake.expect("function")) == 1, "a function is sent once"


@pytest.mark.parametrize("bad", [{"retries": -1}, {"retries": 1.5}, {"priority": "high"}])
def test_submit_refuses(client, bad):
    with pytest.raises((ValueError, TypeError), match=next(iter(bad))):
        client.submit(functions.inc, 1, **bad)
    with pytest.raises(TypeError, match="expected a function, got int"):
        client.submit(3)


def test_map(client):
    futures = client.map(functions.add, range(5), [10, 20, 30, 40], more=1)
    assert client.gather(futures) == [11, 22, 33, 44]
    assert client.map(functions.inc, []) == []
    with pytest.raises(TypeError, match="at least one iterable"):
        client.map(functions.inc)


def test_map_is_batched(start):
    fake, client = start("hold")
    futures = client.map(functions.inc, range(5000))
    assert len(futures) == 5000
    tasks = fake.tasks(5000)
    assert [pickle.loads(data)[0][0] for _, _, data in tasks] == list(range(5000))
    sizes = [len(header["k"]) for header, _ in fake.expect("submit")]
    assert sizes[0] <= 16 and len(sizes) < 20 and max(sizes) <= 512


def test_map_batches_by_size(start):
    fake, client = start("hold")
    client.map(functions.inc, [bytes(700_000)] * 6)
    assert [len(header["k"]) for header, _ in fake.expect("submit", 6)] == [1] * 6


def test_keys(client):
    assert client.submit(functions.inc, 1, key="one").key == "one"
    assert [f.key for f in client.map(functions.inc, range(3), key="it")] == ["it-0", "it-1", "it-2"]
    assert [f.key for f in client.map(functions.inc, range(2), key=["a", "b"])] == ["a", "b"]
    keys = {future.key for future in client.map(functions.inc, range(100))}
    assert len(keys) == 100


def test_functions_of_all_kinds(client):
    offset = 5

    def local(x):
        return x + offset

    assert client.submit(local, 1).result(10) == 6
    offset = 7  # what a function refers to is taken when it is submitted
    assert client.submit(local, 1).result(10) == 8
    assert client.submit(lambda x: -x, 1).result(10) == -1
    assert client.submit(functools.partial(functions.add, 1), 2).result(10) == 3
    assert client.submit("a,b".split, ",").result(10) == ["a", "b"]
    assert client.submit(dict, a=1).result(10) == {"a": 1}
    keys = client.submit(functools.partial(functions.add, 1), 2).key, client.submit("".split).key
    assert keys[0].startswith("add-") and keys[1].startswith("split-")


def test_functions_that_are_alike_are_sent_once(start):
    fake, client = start("run")
    for x in range(3):
        client.submit(functools.partial(functions.add, 1), x).result(10)
    assert len(fake.expect("function")) == 1


def test_kwargs_may_bear_any_name(client):
    assert client.submit(functions.echo, self=1, function=2).result(10)[1] == {
        "self": 1,
        "function": 2,
    }


def test_remote_error(client):
    future = client.submit(functions.fail, "broken")
    with pytest.raises(ValueError, match="broken") as caught:
        future.result(10)
    assert "in fail" in str(caught.value.__cause__)
    assert future.status == "error" and "in fail" in future.traceback()
    assert future.exception() is caught.value
    assert client.submit(functions.inc, 1).traceback(10) is None


@pytest.mark.parametrize(
    "function, args, words",
    [
        (functions.leave, (3,), "SystemExit: 3"),
        (functions.interrupt, (), "KeyboardInterrupt"),
        (functions.fail_awkwardly, (), "Awkward: a b"),
    ],
)
def test_what_cannot_be_raised_here(client, function, args, words):
    with pytest.raises(dtask.RemoteError, match=words) as caught:
        client.submit(function, *args).result(10)
    assert caught.value.task and function.__name__ in str(caught.value.__cause__)


def test_scatter(start):
    fake, client = start("run")
    one = client.scatter({"a": 1}["a"])
    assert one.result() == 1 and one.status == "finished"
    assert client.gather(client.scatter([1, 2])) == [1, 2]
    assert client.gather(client.scatter({"x": 1})) == {"x": 1}
    data = [1]
    held = client.scatter(tuple([data]), broadcast=True)[0]
    data.append(2)
    assert client.submit(len, held).result(10) == 1


def test_many_threads(client):
    def work(base):
        return client.gather([client.submit(functions.add, base, x) for x in range(50)])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for base, values in zip(range(8), pool.map(work, range(8), timeout=30)):
            assert values == [base + x for x in range(50)]


def test_workers(client):
    first, second = client.workers()
    assert (first.name, first.node, first.nthreads) == ("w0", "n0", 1)
    assert (second.memory_limit, second.memory) == (200 << 20, 5 << 20)
    assert client.nthreads() == {"127.0.0.1:9000": 1, "127.0.0.1:9001": 1}
    assert len(client.scheduler_info()["workers"]) == 2
    assert client.id == "7.0" and "workers: 2" in repr(client)


def test_wait_for_workers(start):
    fake, client = start("hold", welcome={"workers": 0, "expected": 3})
    with pytest.raises(TimeoutError, match="0 of 3 workers are connected after 0.01 s"):
        client.wait_for_workers(timeout=0.01)
    fake.send({"t": "workers", "n": 2, "expected": 3})
    client.wait_for_workers(2, timeout=10)
    client.wait_for_workers(n_workers=1)
    with pytest.raises(TimeoutError, match="2 of 3"):
        client.wait_for_workers(3, 0.01)
    fake.send({"t": "workers", "n": 3, "expected": 3})
    client.wait_for_workers(timeout=10)


def test_connecting(monkeypatch, tmp_path):
    with FakeScheduler() as fake:
        monkeypatch.setenv("DTASK_ADDRESS", fake.address)
        with pytest.raises(dtask.ConnectError, match="token"):
            Client()
        monkeypatch.setenv("DTASK_TOKEN", fake.token.hex())
        with Client() as client:
            assert client.submit(functions.inc, 1).result(10) == 2
        monkeypatch.delenv("DTASK_ADDRESS")
        path = tmp_path / "12.0.json"
        monkeypatch.setenv("DTASK_SCHEDULER_FILE", str(path))
        content = {"type": "dtask", "protocol": 1, "address": fake.address, "token": fake.token.hex()}
        threading.Timer(0.2, lambda: (path.with_suffix(".tmp").write_text(json.dumps(content)),
                                      os.replace(path.with_suffix(".tmp"), path))).start()
        with Client() as client:  # waits for the file
            assert client.submit(functions.inc, 1).result(10) == 2
        with Client(scheduler_file=path) as client:
            assert client.submit(functions.inc, 1).result(10) == 2


def test_not_connecting(monkeypatch, tmp_path):
    with pytest.raises(dtask.ConnectError, match="no cluster is known here.*dtask run"):
        Client()
    with monkeypatch.context() as task:
        task.setenv("SLURM_DTASK_TOKEN", "11" * 32)
        task.setenv("SLURMD_NODENAME", "n7")
        with pytest.raises(dtask.ConnectError, match="plugin is missing on node n7"):
            Client()
    with pytest.raises(dtask.ConnectError, match="nosuch.json: No such file"):
        Client(scheduler_file=tmp_path / "nosuch.json", timeout=0.1)
    for text, words in (
        ("{", "not JSON"),
        ("[]", "not the file of a dtask cluster"),
        ('{"type": "Scheduler"}', "not the file of a dtask cluster"),
        ('{"type": "dtask", "protocol": 2}', "protocol 2, expected 1"),
        ('{"type": "dtask", "protocol": 1}', "is not an address"),
    ):
        path = tmp_path / "bad.json"
        path.write_text(text)
        with pytest.raises(dtask.ConnectError, match=f"bad.json: .*{words}"):
            Client(scheduler_file=path)
    with FakeScheduler() as fake:
        with pytest.raises(dtask.ConnectError, match="does not hold this token"):
            Client(fake.address, "00" * 32)
        address = fake.address
    with pytest.raises(dtask.ConnectError, match="no scheduler answers at 127.0.0.1:.* refused"):
        Client(address, "00" * 32, timeout=0.1)


def test_a_crowd_at_the_scheduler_s_door():
    """One that closes before it has proved itself is tried again, within the time-out."""
    with FakeScheduler() as fake:
        fake.shut = 3
        with Client(fake.address, fake.token.hex()) as client:
            assert client.submit(functions.inc, 1).result(10) == 2
        fake.shut = 10_000
        with pytest.raises(dtask.ConnectError, match="127.0.0.1:.* closed .* in the handshake"):
            Client(fake.address, fake.token.hex(), timeout=0.3)
        assert 10_000 - fake.shut > 1


def test_cluster_lost(start):
    fake, client = start("hold")
    futures = client.map(functions.inc, range(3))
    held = client.submit(functions.inc, futures[0])
    fake.tasks(3)
    fake.drop()
    for future in [*futures, held]:
        with pytest.raises(dtask.ClusterLost, match="closed the connection"):
            future.result(10)
        assert future.status == "lost"
    assert isinstance(futures[0].exception(), concurrent.futures.BrokenExecutor)
    for call in (
        lambda: client.submit(functions.inc, 1),
        lambda: client.map(functions.inc, [1]),
        lambda: client.workers(),
        lambda: client.wait_for_workers(1),
    ):
        with pytest.raises(dtask.ClusterLost):
            call()
    client.close()


def test_bye_says_why(start):
    fake, client = start("hold")
    future = client.submit(functions.inc, 1)
    fake.tasks(1)
    fake.send({"t": "bye", "why": "time limit"})
    fake.drop()
    with pytest.raises(dtask.ClusterLost, match="the cluster has ended: time limit"):
        future.result(10)


@pytest.mark.parametrize(
    "header, payload",
    [
        ({"t": "done", "k": [1], "len": [1, 2]}, b"abc"),
        ({"t": "done", "k": [1, 2], "len": [1, 1]}, b"abc"),
        ({"t": "done", "len": []}, b""),
        ({"t": "failed", "kind": "raised"}, b""),
        ({"t": "workers"}, b""),
        ({"nothing": 1}, b""),
    ],
)
def test_a_scheduler_that_breaks_the_protocol(start, header, payload):
    fake, client = start("hold")
    future = client.submit(functions.inc, 1)
    fake.tasks(1)
    fake.send(header, payload)
    with pytest.raises(dtask.ClusterLost, match="the scheduler (sent|broke)"):
        future.result(10)


def test_unknown_messages_and_members_are_ignored(start):
    fake, client = start("run")
    fake.send({"t": "weather", "sun": True}, b"xyz")
    fake.send({"t": "done", "k": [999], "len": [3], "new": 1}, b"xyz")
    assert client.submit(functions.inc, 1).result(10) == 2


def test_close(start):
    fake, client = start("hold")
    future = client.submit(functions.inc, 1)
    held = client.submit(functions.inc, future)
    with client:
        pass
    assert future.cancelled() and held.cancelled() and future.status == "cancelled"
    with pytest.raises(dtask.ClusterLost, match="the client is closed"):
        client.submit(functions.inc, 1)
    client.close()


def test_failures(start):
    fake, client = start("hold")
    memory, crashed, large, lost = client.map(functions.inc, range(4), key="job")
    numbers = [number for number, _, _ in fake.tasks(4)]
    about = {"t": "failed", "message": "", "worker": "n1.0", "node": "n1", "tries": 3}
    limit = {"limit": 200 << 20, "peak": 201 << 20}
    fake.send({**about, "k": numbers[0], "kind": "memory", "signal": 9, **limit})
    fake.send({**about, "k": numbers[1], "kind": "crashed", "signal": 11, "exit": 0})
    fake.send({**about, "k": numbers[2], "kind": "too_large", "message": f"inc-{numbers[2]}: it has 70 MiB"})
    fake.send({**about, "k": numbers[3], "kind": "lost", "message": "no workers are left"})
    with pytest.raises(dtask.MemoryLimitExceeded) as caught:
        memory.result(10)
    error = caught.value
    assert (error.task, error.worker, error.node, error.tries) == ("job-0", "n1.0", "n1", 3)
    assert (error.limit, error.peak) == (200 << 20, 201 << 20)
    for word in ("job-0", "200.0 MiB", "201.0 MiB", "n1.0", "node n1"):
        assert word in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.limit, again.node) == (str(error), error.limit, "n1")
    with pytest.raises(dtask.WorkerCrashed) as caught:
        crashed.result(10)
    error = caught.value
    assert (error.signal, error.exit_code, error.tries) == (11, None, 3)
    for word in ("job-1", "signal 11", "SIGSEGV", "3 times", "n1.0", "node n1"):
        assert word in str(error)
    with pytest.raises(dtask.TooLarge, match="job-2: it has 70 MiB"):
        large.result(10)
    with pytest.raises(dtask.ClusterLost, match="job-3: no workers are left"):
        lost.result(10)
    assert lost.status == "lost"
    assert all(isinstance(f.exception(), dtask.DtaskError) for f in (memory, crashed, large, lost))


def test_killed_below_its_limit(start):
    fake, client = start("hold")
    future = client.submit(functions.inc, 1, key="job")
    number = fake.tasks(1)[0][0]
    said = "had 60M of the worker's 200M when the step's tasks had used up all its memory on the node"
    about = {"worker": "n1.0", "node": "n1", "limit": 200 << 20, "peak": 60 << 20, "tries": 1}
    fake.send({"t": "failed", "k": number, "kind": "memory", "message": f"inc-{number}: {said}", **about})
    with pytest.raises(dtask.MemoryLimitExceeded) as caught:
        future.result(10)
    assert str(caught.value) == f"job: {said}, worker n1.0 on node n1"
    assert (caught.value.limit, caught.value.peak) == (200 << 20, 60 << 20)


def test_too_large(client):
    big = bytes((64 << 20) + 1)
    with pytest.raises(dtask.TooLarge, match=r"arguments of echo: 64\.0 MiB pickled, at most 64 MiB"):
        client.submit(functions.echo, big)
    with pytest.raises(dtask.TooLarge, match="arguments of echo"):
        client.map(functions.echo, [1, big])
    with pytest.raises(dtask.TooLarge, match="the function local"):

        def local():
            return big

        client.submit(local)
    half = client.scatter(bytes(40 << 20))
    with pytest.raises(dtask.TooLarge, match="with their inputs"):
        client.submit(functions.echo, half, bytes(40 << 20)).result(10)
    assert client.submit(functions.inc, 1).result(10) == 2


def test_large_values_pass(client):
    data = os.urandom(20 << 20)
    assert client.submit(bytes.upper, data).result(30) == data.upper()


def test_unpicklable_arguments(client):
    with pytest.raises(dtask.PickleError, match="arguments of inc cannot be pickled: .*stays here"):
        client.submit(functions.inc, functions.Unpicklable())
    with pytest.raises(pickle.PicklingError):
        client.map(functions.inc, [1, functions.Unpicklable()])
    assert client.submit(functions.inc, 1).result(10) == 2


def test_without_cloudpickle(client, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cloudpickle", None)
    assert client.submit(functions.inc, 1).result(10) == 2
    with pytest.raises(dtask.PickleError, match="the function <lambda>.*cloudpickle.*not installed"):
        client.submit(lambda: 1)


def test_after_a_fork(start):
    fake, client = start("hold")
    pending = client.submit(functions.inc, 1)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        told = []
        for call in (
            lambda: client.submit(functions.inc, 1),
            lambda: client.map(functions.inc, [1]),
            lambda: pending.result(),
            lambda: dtask.wait([pending]),
            lambda: client.gather([pending]),
            lambda: list(client.as_completed([pending])),
            lambda: client.workers(),
            lambda: client.wait_for_workers(1),
        ):
            try:
                call()
                told.append("no error")
            except dtask.ClusterLost as error:
                told.append("forked" if "forked" in str(error) else str(error))
            except BaseException as error:
                told.append(repr(error))
        client.close()
        told.append(pending.status)
        os.write(write, " ".join(told).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        assert file.read() == " ".join(["forked"] * 8 + ["lost"])
    assert os.waitpid(pid, 0)[1] == 0
    raw = pickle.dumps("here")
    fake.send({"t": "done", "k": [fake.tasks(1)[0][0]], "len": [len(raw)]}, raw)
    assert pending.result(10) == "here", "the parent's connection lives on"


def test_a_slow_reader_makes_senders_wait(start):
    """Queued bytes are bounded, nothing is lost or out of order."""
    fake, client = start("run")
    data = os.urandom(3 << 20)
    futures = client.map(functions.echo, range(20), [data] * 20)
    assert [args[0] for args, _ in client.gather(futures)] == list(range(20))

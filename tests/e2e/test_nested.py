# SPDX-License-Identifier: Apache-2.0
"""Functions that submit tasks of their own and wait for them, through `dtask run`."""

import os

import pytest
from clusters import wait_for

pytestmark = pytest.mark.e2e

FIB = """
import os, sys, time
import dtask

def fib(n):
    if n < 2:
        return n
    with dtask.Client() as client:
        one, two = client.submit(fib, n - 1), client.submit(fib, n - 2)
        return one.result() + two.result()

client = dtask.Client()
client.wait_for_workers(timeout=60)
"""


@pytest.mark.parametrize("tasks", [2, 3])
def test_recursion(cluster, tasks):
    code = cluster.run(
        FIB
        + """
print("workers", len(client.workers()))
print("fib", client.submit(fib, 8).result(100))
print("after", client.submit(abs, -1).result(60))
""",
        tasks=tasks,
        seconds=120,
    )
    assert code == 0, cluster.err
    assert cluster.out == f"workers {tasks - 1}\nfib 21\nafter 1\n" and cluster.err == ""


def test_other_ways_to_wait(cluster):
    code = cluster.run(
        """
import dtask

def pool(n):
    with dtask.Executor() as pool:
        return sum(pool.map(abs, range(-n, 0))) + pool.submit(pow, 2, n).result()

def gather(n):
    with dtask.Client() as client:
        futures = client.map(pool, range(n))
        total = sum(client.gather(futures))
        client.wait(futures)
        return total + sum(f.result() for f in client.as_completed(client.map(pool, range(n))))

def large(n):
    with dtask.Client() as client:
        parts = client.map(bytes, [1_000_000] * n)
        return client.submit(lambda parts: sum(map(len, parts)), parts).result()

client = dtask.Client()
print(client.submit(gather, 4).result(100), client.submit(large, 3).result(100))
print(sum(client.gather(client.map(gather, [3] * 6))))
""",
        tasks=2,
        seconds=120,
    )
    assert code == 0, cluster.err
    assert cluster.out == "50 3000000\n132\n"


def test_a_task_that_ends_takes_its_own_with_it(cluster):
    """Cancelled, or dead, while it waits: what it submitted is cancelled, and the slots are free."""
    code = cluster.run(
        """
import os, time
import dtask

def inner(path):
    open(path, "w").close()
    time.sleep(600)

def outer(path, then):
    client = dtask.Client()
    futures = [client.submit(inner, path + str(n)) for n in range(2)]
    if then == "die":
        while not os.path.exists(path + "0"):
            try:
                futures[0].result(0.5)
            except dtask.TimeoutError:
                pass
        os._exit(3)
    client.gather(futures)

def busy():
    return sum(worker.running + worker.queued for worker in client.workers())

def idle(what):
    end = time.monotonic() + 60
    while busy():
        assert time.monotonic() < end, what
        time.sleep(0.02)
    print(what, flush=True)

client = dtask.Client()
client.wait_for_workers(timeout=60)
future = client.submit(outer, "cancelled", "wait")
while not os.path.exists("cancelled0"):
    time.sleep(0.01)
future.cancel()
idle("cancelled")
try:
    client.submit(outer, "dead", "die").result(60)
except dtask.WorkerCrashed as error:
    print("tries", error.tries)
idle("dead")
print(client.submit(abs, -1).result(60))
""",
        tasks=2,
        seconds=120,
    )
    assert code == 0, cluster.err
    assert cluster.out == "cancelled\ntries 3\ndead\n1\n"


def test_processes_of_waits_are_not_kept(cluster):
    os.mkfifo(os.path.join(cluster.folder, "until"))
    cluster.start(
        FIB
        + """
print(client.submit(fib, 6).result(100), flush=True)
open("until").read()
""",
        tasks=2,
    )
    assert cluster.line(100) == "8"
    wait_for("one executor", lambda: len(cluster.processes("dtask.executor")) == 1, 60)
    with open(os.path.join(cluster.folder, "until"), "w"):
        pass
    assert cluster.finish() == 0, cluster.err

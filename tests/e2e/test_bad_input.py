# SPDX-License-Identifier: Apache-2.0
"""Bad input, through `dtask run`: one clear exception each, and the cluster goes on."""

import os
import sys

import pytest

pytestmark = pytest.mark.e2e

START = """
import os, sys, threading, time
import dtask
client = dtask.Client()
client.wait_for_workers(timeout=60)

def show(what, function):
    try:
        print(what, "result", function())
    except Exception as error:
        print(what, type(error).__name__, str(error).replace(chr(10), " "))
    assert client.submit(abs, -1).result(60) == 1

"""


def run(cluster, script, *options, **keywords):
    code = cluster.run(START + script, *options, seconds=120, **keywords)
    assert code == 0, f"exit code {code}\n{cluster.out}\n{cluster.err}"
    said = cluster.err.splitlines(keepends=True)
    if "--memory" in options:
        assert "each worker watches the memory of its executors itself" in said.pop(0)
    assert said == []


def test_what_cannot_be_pickled(cluster):
    run(
        cluster,
        """
lock = threading.Lock()

def uses_lock():
    return lock

show("function", lambda: client.submit(uses_lock).result(60))
show("argument", lambda: client.submit(abs, lock).result(60))
show("many", lambda: client.map(repr, [1, lock, 2]))
show("result", lambda: client.submit(threading.Lock).result(60))
show("generator", lambda: client.submit(lambda: (x for x in "abc")).result(60))
""",
    )
    lock = "cannot pickle '_thread.lock' object"
    assert cluster.field("function") == (
        f"PickleError the function uses_lock cannot be pickled: {lock}"
    )
    assert cluster.field("argument") == f"PickleError the arguments of abs cannot be pickled: {lock}"
    assert cluster.field("many") == f"PickleError the arguments of repr cannot be pickled: {lock}"
    assert cluster.field("result") == f"PickleError the result, a lock, cannot be pickled: {lock}"
    assert cluster.field("generator") == (
        "PickleError the result, a generator, cannot be pickled: cannot pickle 'generator' object"
    )


def test_what_is_too_large(cluster):
    """For a message, and for any worker's memory."""
    run(
        cluster,
        """
show("argument", lambda: client.submit(len, bytes(65 << 20)).result(60))
show("function", lambda: client.submit(lambda x=bytes(65 << 20): x).result(60))

def hog(*parts):
    return len(b"".join(bytes(part) for part in parts) * 4)

parts = [client.submit(bytes, 40 << 20) for _ in range(2)]
show("memory", lambda: client.submit(hog, *parts).result(60))
""",
        "--memory",
        "250M",
        tasks=2,
    )
    large = "pickled, at most 64 MiB are possible"
    assert cluster.field("argument") == f"TooLarge the arguments of len: 65.0 MiB {large}"
    assert cluster.field("function") == f"TooLarge the function <lambda>: 65.0 MiB {large}"
    assert "passed the memory limit of 250.0 MiB" in cluster.field("memory")
    assert cluster.field("memory").startswith("MemoryLimitExceeded hog-")


def test_a_cycle_in_the_graph(cluster):
    run(
        cluster,
        """
show("two", lambda: dtask.dask.get({"a": (abs, "b"), "b": (abs, "a")}, "a"))
show("self", lambda: dtask.dask.get({"a": (abs, "a")}, "a"))
""",
    )
    assert cluster.field("two") == "ValueError the graph has a cycle: a -> b -> a"
    assert cluster.field("self") == "ValueError the graph has a cycle: a -> a"


def test_a_hundred_megabytes_of_print(cluster):
    """In one piece, and in lines: all of it comes, and no process grows by it."""
    cluster.start(
        START
        + """
def lines():
    for _ in range(100):
        print("y" * (1 << 20))

print("begin", flush=True)
show("piece", lambda: client.submit(print, "x" * (50 << 20)).result(100))
show("lines", lambda: client.submit(lines).result(100))
end = time.monotonic() + 60
while not 0 < sum(worker.memory for worker in client.workers()) < 200 << 20:
    assert time.monotonic() < end, client.workers()
    time.sleep(0.1)
print("end", flush=True)
""",
        tasks=2,
    )
    assert cluster.line(60) == "begin"
    counts, tail = {"x": 0, "y": 0}, ""
    while True:
        piece = cluster.process.stdout.read(1 << 20)
        if not piece:
            break
        for letter in counts:
            counts[letter] += piece.count(letter)
        tail = tail[-100:] + piece
    assert cluster.finish() == 0, cluster.err
    assert counts == {"x": 50 << 20, "y": 100 << 20}
    assert tail.endswith("\nlines result None\nend\n")


def test_a_module_that_is_missing_on_the_workers(cluster):
    os.mkdir(os.path.join(cluster.folder, "here"))
    cluster.write("def twice(x):\n    return 2 * x\n", os.path.join("here", "only_here.py"))
    run(
        cluster,
        """
sys.path.insert(0, "here")
import only_here
os.rename("here", "hidden")  # as on a node that does not share it
show("function", lambda: client.submit(only_here.twice, 1).result(60))
show("argument", lambda: client.submit(repr, only_here.twice).result(60))
""",
        tasks=2,
    )
    for what in ("function", "argument"):
        assert cluster.field(what).startswith(
            "ModuleNotFoundError No module named 'only_here' on worker "
        )
        assert cluster.field(what).endswith("install it there, or send it by Client.upload")


def test_code_of_another_python(cluster):
    """Told by a fake of the version, which every machine has."""
    run(
        cluster,
        """
from dtask import _inputs
_inputs.PYTHON = "cpython 3.5"

def script_function(x):
    return x

show("function", lambda: client.submit(script_function, 1).result(60))
show("argument", lambda: client.submit(repr, script_function).result(60))
show("map", lambda: list(client.get_executor().map(script_function, range(3))))
show("named", lambda: client.submit(pow, 2, 3).result(60))
""",
        tasks=2,
    )
    own = f"cpython {sys.version_info[0]}.{sys.version_info[1]}"
    for what in ("function", "argument", "map"):
        assert cluster.field(what).startswith(f"PickleError this is {own} (")
        assert " and the client's cpython 3.5: " in cluster.field(what)
        assert "set DTASK_PYTHON" in cluster.field(what)
    assert cluster.field("named") == "result 8"

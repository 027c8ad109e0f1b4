# SPDX-License-Identifier: Apache-2.0
"""Executors are forked from one process a worker: what they share, and what they must not."""

import importlib.util
import os
import signal

import pytest
from clusters import wait_for

NUMPY = importlib.util.find_spec("numpy") is not None


@pytest.mark.parametrize("nursery", ["on", "off"])
@pytest.mark.skipif(not NUMPY, reason="no numpy")
def test_executors_of_one_worker(cluster, nursery):
    cluster.write("import numpy\nprint('loaded', end='')\n", "heavy.py")
    script = """
    import os, random, sys, time
    import dtask

    def look(n):
        import multiprocessing, uuid
        import numpy
        open(f"at{n}", "w").close()
        end = time.monotonic() + 60
        while not all(os.path.exists(f"at{one}") for one in range(4)):
            assert time.monotonic() < end, "four executors did not run at a time"
            time.sleep(0.01)
        with open("/proc/self/smaps_rollup") as file:
            own = sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
        return (os.getpid(), random.random(), float(numpy.random.rand()), str(uuid.uuid4()),
                os.getppid(), own, sys.argv, multiprocessing.current_process().name,
                len(os.listdir("/proc/self/fd")))

    client = dtask.Client()
    pids, *drawn, parents, own, argv, names, fds = zip(*client.gather(client.map(look, range(4))))
    print("\\npids", len(set(pids)))
    print("drawn", *[len(set(some)) for some in drawn])
    print("parents", len(set(parents)))
    print("own", max(own))
    print("argv", *{len(some) for some in argv})
    print("names", *set(names))
    print("fds", len(set(fds)))
    """
    options = ("--concurrency=4", "--preload=heavy")
    assert cluster.run(script, *options, tasks=2, seconds=180,
                       DTASK_NURSERY=nursery) == 0, cluster.err
    assert cluster.field("pids") == "4"
    assert cluster.field("drawn") == "4 4 4", "two executors have drawn the same"
    assert cluster.field("parents") == "1"
    assert cluster.field("argv") == "1"
    assert cluster.field("names") == "MainProcess"
    assert cluster.field("fds") == "1"
    assert cluster.out.count("loaded") == (1 if nursery == "on" else 4)
    if nursery == "on":
        assert int(cluster.field("own")) < 12 << 10, "KiB of memory that should be shared"


def test_one_dies_after_the_other(cluster):
    script = """
    import os, signal
    import dtask

    def end():
        os.kill(os.getpid(), signal.SIGKILL)

    client = dtask.Client()
    for n in range(20):
        assert isinstance(client.submit(end).exception(60), dtask.WorkerCrashed)
    parent = client.submit(os.getppid).result(60)
    with open(f"/proc/{parent}/task/{parent}/children") as file:
        print("children", len(file.read().split()))
    """
    assert cluster.run(script, tasks=2, seconds=180) == 0, cluster.err
    assert cluster.field("children") == "2", "the process that forks, and one executor"


def test_who_forks_is_killed(cluster):
    script = """
    import os, signal, time
    import dtask

    def end():
        os.kill(os.getpid(), signal.SIGKILL)

    client = dtask.Client()
    pid = client.submit(os.getpid).result(60)
    print("ready", flush=True)
    while not os.path.exists("killed"):
        time.sleep(0.01)
    assert client.submit(os.getpid).result(60) == pid, "the executor has gone as well"
    assert isinstance(client.submit(end).exception(60), dtask.WorkerCrashed)
    assert client.submit(os.getpid).result(60) != pid
    """
    cluster.start(script, tasks=2)
    assert cluster.line(60) == "ready"
    (nursery,) = wait_for("its process", lambda: cluster.processes("dtask._nursery"), 20)
    os.kill(nursery, signal.SIGKILL)
    cluster.write("", "killed")
    assert cluster.finish(120) == 0, cluster.err

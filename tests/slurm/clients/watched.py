# SPDX-License-Identifier: Apache-2.0
"""What a worker's memory limit holds: `watched.py LIMIT`, the limit in MiB.

Prints `alone`, `child` and `daemon` with what a function's future raises that has too much in its
own process, in one that it has started, and in one that it has left behind; `forked` with the
result of one whose children share what it has; `peak` with the peak of a function that went over
after others had; and `right N` for a map among them.
"""

import os
import subprocess
import sys
import time

import dtask

LIMIT = int(sys.argv[1])
HOLD = """
import sys, time
held = b"x" * (int(sys.argv[1]) << 20)
print("held", flush=True)
time.sleep(60)
"""


def good(x):
    return x * x


def alone(size):
    held = []
    for _ in range(size):
        held.append(b"x" * (1 << 20))
    time.sleep(60)
    return len(held)


def child(size):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(size)], stdout=subprocess.PIPE) as held:
        held.stdout.readline()
        return held.wait()


def daemon(size):
    """Holds memory in a process that has left parent, group and session."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(read)
            os.set_inheritable(write, True)
            os.dup2(write, 1)
            os.execv(sys.executable, [sys.executable, "-c", HOLD, str(size)])
        os._exit(0)
    os.close(write)
    os.wait()
    with open(read, "rb") as said:
        said.readline()
        return said.read()  # its end


def forked(size, children):
    """What is shared counts once: the children only look at it."""
    held = b"x" * (size << 20)
    pids = []
    for _ in range(children):
        pid = os.fork()
        if pid == 0:
            time.sleep(1.5)
            os._exit(held[-1] - ord("x"))
        pids.append(pid)
    return [os.waitpid(pid, 0)[1] for pid in pids]


def tell(name, future):
    try:
        print(name, future.result(60))
    except dtask.DtaskError as error:
        print(name, type(error).__name__, error)
        return error
    return None


client = dtask.Client()
client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=60)
fine = client.map(good, range(300))
tell("forked", client.submit(forked, LIMIT // 2, 5))
error = tell("alone", client.submit(alone, 4 * LIMIT))
if error:
    for name in ("task", "limit", "peak", "worker", "node"):
        print(name, getattr(error, name))
tell("child", client.submit(child, 2 * LIMIT))
tell("daemon", client.submit(daemon, 2 * LIMIT))
print("right", sum(a == b * b for b, a in enumerate(client.gather(fine))))

# SPDX-License-Identifier: Apache-2.0
"""A value that must be copied to a node which has no room for it: `no_room.py BIG`, in MiB.

The last worker makes the value, the first one, whose node is full, is to use it: prints `there` with
the exception and its text; `free` with its length where the task may run on any worker; `again` with
how often the value was made; and `after` with the result of a task that comes then on the full node.
"""

import os
import sys

import dtask

MIB = 1 << 20
here = os.getcwd()


def make(size):
    with open(os.path.join(here, "made"), "a") as file:
        file.write("x")
    return b"x" * size


client = dtask.Client()
client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=60)
first, *_, last = sorted(worker.name for worker in client.workers())
big = client.submit(make, int(sys.argv[1]) * MIB, workers=[last])
dtask.wait([big])
try:
    print("there", client.submit(len, big, workers=[first]).result(60))
except Exception as error:
    print("there", type(error).__name__, error)
print("free", client.submit(len, big).result(60))
print("again", os.path.getsize("made"))
print("after", client.submit(sum, [20, 22], workers=[first]).result(60))

# SPDX-License-Identifier: Apache-2.0
"""Values on workers whose memory or disk for them is full: `full.py BIG`, in MiB.

Prints `small` with the sum of the lengths of small values; `big` with the length of one that has no
room in shared memory, as another task on its node and one on another sees it, or with the error;
`after` with the result of a task that comes then; and `left` with the files that are in the
directories of the worker that made it.
"""

import os
import sys

import dtask

MIB = 1 << 20


def make(size):
    return b"x" * size


def look():
    return sorted(
        os.path.join(place, name)
        for place in (os.environ.get("DTASK_STORE"), os.environ.get("DTASK_SPILL"))
        if place
        for name in os.listdir(place)
        if not name.startswith(".")
    )


client = dtask.Client()
client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=60)
first, *others = sorted(worker.name for worker in client.workers())
small = [client.submit(make, 100_000 + n, workers=[first]) for n in range(5)]
print("small", sum(len(future.result(60)) for future in small))
del small
big = client.submit(make, int(sys.argv[1]) * MIB, workers=[first])
try:
    print("big", *[client.submit(len, big, workers=[name]).result(60) for name in (first, others[-1])])
except Exception as error:
    print("big", type(error).__name__, error)
print("after", client.submit(sum, [20, 22], workers=[first]).result(60))
left = client.submit(look, workers=[first]).result(60)
print("left", *[os.path.basename(os.path.dirname(path)) for path in left])

# SPDX-License-Identifier: Apache-2.0
"""One array, read by all: ``data.py dtask|dask MIB WORKERS`` prints one line of JSON.

A task makes an array of MIB; then WORKERS tasks sum it, each on a worker of its own, at the same
time. Bytes:

peaks   by node, of its workers together: the sum of the peaks of their tasks' cgroups, which have
        all that their processes and their shared memory take, each page once, and the files that
        they read besides. The peak of the sum is never more.
copies  by node, files of that size in shared memory
sent    over the loopback of this machine, on which a sandbox's nodes live, by whomever

All nodes must be of this machine, and root must run it.
"""

import glob
import json
import os
import re
import sys
import time

import numpy as np

NAP = 6.0  # s that a reader stays on its worker, so that the others go elsewhere
FILES = ("memory.max_usage_in_bytes", "memory.peak")


def make(mib):
    return np.arange(mib << 17, dtype=float)


def read(array):
    began = time.monotonic()
    total = float(array.sum())
    time.sleep(max(NAP - (time.monotonic() - began), 0))
    return os.environ["SLURM_PROCID"], os.environ["SLURMD_NODENAME"], total


def peaks():
    """Of all tasks but this one, which is the client's."""
    with open("/proc/self/cgroup") as lines:
        mine = [line.rstrip().split(":", 2)[2] for line in lines]
    job, step = os.environ["SLURM_JOB_ID"], os.environ["SLURM_STEP_ID"]
    nodes = {}
    for at in glob.glob(f"/sys/fs/cgroup/**/job_{job}/step_{step}/**/task_*", recursive=True):
        if any(at.endswith(path) for path in mine if len(path) > 1):
            continue
        for file in FILES:
            if os.path.exists(f"{at}/{file}"):
                node = re.search("slurm_([^/]+)", at)[1]
                with open(f"{at}/{file}") as text:
                    nodes[node] = nodes.get(node, 0) + int(text.read())
    return nodes


def copies(size):
    """How many values of that size lie in the stores."""
    return sum(os.path.getsize(file) >= size for file in glob.glob("/dev/shm/dtask*/**/[0-9]*", recursive=True))


def sent():
    with open("/proc/net/dev") as lines:
        return next(int(line.split()[1]) for line in lines if line.strip().startswith("lo:"))


def main():
    peer, mib, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if peer == "dtask":
        from dtask import Client

        options = {}
    else:
        from distributed import Client

        options = {"pure": False}
    with Client() as client:
        client.wait_for_workers(workers, timeout=60)
        # How long a reader takes must be known, or all would run where the array is.
        client.gather([client.submit(read, np.zeros(1), **options) for _ in range(workers)])
        began = time.perf_counter()
        array = client.submit(make, mib, **options)
        while not array.done():
            time.sleep(0.01)
        made, before = time.perf_counter(), sent()
        values = client.gather([client.submit(read, array, **options) for _ in range(workers)])
        done = time.perf_counter()
        count = mib << 17
        assert all(total == count * (count - 1) / 2 for *_, total in values)
        print(
            json.dumps(
                {
                    "peaks": peaks(),
                    "copies": copies(mib << 20),
                    "workers": len({task for task, *_ in values}),
                    "nodes": len({node for _, node, _ in values}),
                    "sent": sent() - before,
                    "make": made - began,
                    "read": done - made - NAP,
                }
            )
        )


if __name__ == "__main__":
    main()

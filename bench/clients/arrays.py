# SPDX-License-Identifier: Apache-2.0
"""Graphs of dask.array whose tasks compute for about 10 ms: ``arrays.py dtask|dask WORKERS`` prints one
line of JSON.

Seconds from the call of dask.compute to its result, by program, after one run to warm up. Every run
has other numbers in it, since Dask keeps what it has computed; every result is checked.

reduction  the standard deviation of 64 blocks of 8 MB of random numbers
rechunk    4 arrays of 8 rows of blocks, 8 MB each, become columns, of which the medians are taken
matmul     a product of two arrays of 6 x 6 blocks of 250 x 250
stencil    four steps of a mean of neighbours over 4 x 4 blocks of 8 MB, with their edges exchanged
"""

import json
import sys
import time

import dask
import dask.array as da
import numpy as np

STEPS = 4


def random(seed):
    state = da.random.RandomState(seed)
    return state.random_sample((8000, 8000), chunks=1000).std(), 12**-0.5


def rechunk(seed):
    def middles(first):
        rows = da.arange(first, first + 4000, chunks=500, dtype=float)
        whole = rows[:, None] + da.ones((1, 2000), chunks=(1, 2000))
        # What needs whole columns.
        return whole.rechunk((4000, 250)).map_blocks(np.median, axis=0, drop_axis=0, dtype=float)

    arrays = [middles(seed + n) for n in range(4)]
    expected = sum(2000 * (seed + n + 3999 / 2 + 1) for n in range(4))
    return da.concatenate(arrays).sum(), expected


def matmul(seed):
    def square(value):
        return da.full((1500, 1500), float(value), chunks=250)

    return (square(seed) @ square(seed + 1)).sum(), 1500.0**3 * seed * (seed + 1)


def neighbours(block):
    mean = block.copy()
    mean[1:-1, 1:-1] = (block[:-2, 1:-1] + block[2:, 1:-1] + block[1:-1, :-2] + block[1:-1, 2:]) / 4
    return mean


def stencil(seed):
    array = da.full((4000, 4000), float(seed), chunks=1000)
    for _ in range(STEPS):
        array = da.map_overlap(neighbours, array, depth=1, boundary="reflect", dtype=float)
    return array.sum(), 4000.0**2 * seed


PROGRAMS = {"reduction": random, "rechunk": rechunk, "matmul": matmul, "stencil": stencil}


def measure(scheduler):
    times, tasks = {}, {}
    for name, make in PROGRAMS.items():
        for seed in (1, 2):
            program, expected = make(seed + time.time_ns() % 1000)
            began = time.perf_counter()
            (value,) = dask.compute(program, scheduler=scheduler)
            times[name] = time.perf_counter() - began
            assert np.isclose(value, expected, 1e-3), (name, value, expected)
        tasks[name] = len(dask.optimize(program)[0].__dask_graph__())
    return times, tasks


def main():
    peer, workers = sys.argv[1], int(sys.argv[2])
    if peer == "dtask":
        import dtask as module
        from dtask import Client
        from dtask.dask import get as scheduler
    else:
        import distributed as module
        from distributed import Client
    with Client() as client:
        client.wait_for_workers(workers, timeout=60)
        times, tasks = measure(scheduler if peer == "dtask" else client.get)
    print(json.dumps({"times": times, "tasks": tasks, "version": module.__version__}))


if __name__ == "__main__":
    main()

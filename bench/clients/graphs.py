# SPDX-License-Identifier: Apache-2.0
"""Dask graphs, measured: ``graphs.py dtask|dask WORKERS`` prints one line of JSON.

Seconds from the call of dask.compute to its result, by program, after one run to warm up; every
result is checked. The programs are those of the rsds benchmarks in small: a merge of 5,000 tasks,
a tree of 4,096 leaves and a map of 5,000, all of no work; 500 tasks of 10 ms; arrays of 128 MB in
blocks of 2 MB, and a product of two of 8 MB.
"""

import json
import operator
import sys
import time

import dask
import dask.array as da
import numpy as np
from dask import delayed

MERGED = 5000
LEAVES = 4096
SLOW = 500
SIDE = 4000  # rows and columns of an array
BLOCK = 500  # of a block
PRODUCT = 1000  # of a factor


def noop(x):
    return x


def slow(x):
    time.sleep(0.01)
    return x


def merge(function, count):
    tasks = delayed(function, pure=False)
    return delayed(sum)([tasks(n) for n in range(count)])


def tree():
    level = [delayed(noop)(n) for n in range(LEAVES)]
    add = delayed(operator.add)
    while len(level) > 1:
        level = [add(level[n], level[n + 1]) for n in range(0, len(level), 2)]
    return level[0]


def mapped():
    return [delayed(noop)(n) for n in range(MERGED)]


def square(seed):
    """SIDE x SIDE numbers, other ones for each seed: Dask keeps what it has computed."""
    line = da.arange(seed, SIDE + seed, chunks=BLOCK, dtype=float)
    return line[:, None] + 2 * line[None, :]


def mean(seed):
    return 3 * ((SIDE - 1) / 2 + seed)


def ones(seed):
    return da.full((PRODUCT, PRODUCT), 1.0 + seed, chunks=BLOCK)


# How each is made of a seed, and what it gives.
PROGRAMS = {
    "merge": (lambda seed: merge(noop, MERGED), lambda seed: sum(range(MERGED))),
    "tree": (lambda seed: tree(), lambda seed: sum(range(LEAVES))),
    "map": (lambda seed: mapped(), lambda seed: list(range(MERGED))),
    "10 ms": (lambda seed: merge(slow, SLOW), lambda seed: sum(range(SLOW))),
    "array sum": (lambda seed: square(seed).sum(), lambda seed: mean(seed) * SIDE**2),
    "array transpose": (
        lambda seed: (square(seed) + square(seed + 100).T).mean(),
        lambda seed: mean(seed) + mean(seed + 100),
    ),
    "array std": (
        lambda seed: da.random.RandomState(seed).random_sample((SIDE, SIDE), chunks=BLOCK).std(),
        lambda seed: 12**-0.5,
    ),
    "array product": (
        lambda seed: (ones(seed) @ ones(seed + 100)).sum(),
        lambda seed: PRODUCT**3 * (1.0 + seed) * (101.0 + seed),
    ),
}


def check(name, value, expected):
    if isinstance(expected, list):
        assert list(value) == expected, name
    else:
        assert np.isclose(value, expected, 1e-3), (name, value, expected)


def measure(scheduler):
    times = {}
    for name, (make, expected) in PROGRAMS.items():
        for seed in (1, 2):
            program = make(seed)
            began = time.perf_counter()
            (value,) = dask.compute(program, scheduler=scheduler)
            times[name] = time.perf_counter() - began
            check(name, value, expected(seed))
    return times


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
        times = measure(scheduler if peer == "dtask" else client.get)
    print(json.dumps({**times, "version": module.__version__}))


if __name__ == "__main__":
    main()

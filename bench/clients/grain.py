# SPDX-License-Identifier: Apache-2.0
"""A stencil of busy tasks: ``grain.py dtask|dask WORKERS WIDTH STEPS GRAIN...`` prints one line of JSON.

Task i of a step needs the tasks i-1, i and i+1 of the step before and computes for GRAIN microseconds
of CPU time. Its efficiency is the time that the same work takes in one task a worker, measured before
and after it, by the time from the call of the scheduler to its result. There is one run to warm up;
each result is checked. Prints a list of [grain, seconds, efficiency], and for which grain the
efficiency would be a half, between those two of the list where it falls below.
"""

import json
import math
import sys
import time


def point(us, *before):
    """Compute for so long; returns how many steps have been done."""
    end = time.thread_time_ns() + us * 1000
    while time.thread_time_ns() < end:
        pass
    return 1 + min(before, default=0)


def stencil(width, steps, us, name):
    """The graph, and the keys of its last step."""
    graph = {}
    for step in range(steps):
        for i in range(width):
            before = range(max(i - 1, 0), min(i + 2, width)) if step else ()
            graph[name, step, i] = (point, us, *((name, step - 1, one) for one in before))
    return graph, [(name, steps - 1, i) for i in range(width)]


def half(points):
    """The grain of efficiency 0.5, by the logarithm of the grain; `points` from large to small."""
    for (larger, _, above), (smaller, _, below) in zip(points, points[1:]):
        if above >= 0.5 > below:
            part = (above - 0.5) / (above - below)
            return math.exp(math.log(larger) + part * (math.log(smaller) - math.log(larger)))
    return None  # outside of the list


def measure(get, workers, width, steps, grains):
    """Yield (grain, seconds, efficiency)."""
    runs = 0

    def run(width, steps, us):
        nonlocal runs
        runs += 1
        graph, keys = stencil(width, steps, us, f"point-{runs}")
        began = time.perf_counter()
        values = get(graph, keys)
        took = time.perf_counter() - began
        assert list(values) == [steps] * width, values
        return took

    run(width, max(steps // 4, 2), 1)
    for us in grains:
        share = us * width * steps // workers
        before, took, after = run(workers, 1, share), run(width, steps, us), run(workers, 1, share)
        yield us, took, (before + after) / 2 / took


def main():
    peer, workers, width, steps, *grains = sys.argv[1], *map(int, sys.argv[2:])
    if peer == "dtask":
        import dtask as module
        from dtask import Client
        from dtask.dask import get
    else:
        import distributed as module
        from distributed import Client
    with Client() as client:
        client.wait_for_workers(workers, timeout=60)
        points = list(measure(get if peer == "dtask" else client.get, workers, width, steps, grains))
    print(json.dumps({"points": points, "half": half(points), "version": module.__version__}))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Large values to the client and from it: ``gather.py dtask|dask WORKERS COUNT MIB BROADCAST`` prints
one line of JSON.

gather     seconds for COUNT arrays of MIB each, which lie on the workers, to be in the client
broadcast  seconds for an array of BROADCAST MiB in the client to be read by a task on each worker, by
           the quicker one of the ways that Dask has
copy       seconds for the bytes of the gather to be copied from memory to memory, the best of 5
fresh      the same, to new memory, COUNT times MIB
private    whether the client sees no shared memory of the workers, as if it were on another machine

There are other numbers in each array. All are checked; that is not timed.
"""

import glob
import json
import sys
import time

import numpy as np


def make(number, mib):
    return np.arange(number, number + (mib << 17), dtype=float)


def read(array):
    return float(array.sum())


def copy(size):
    source = np.ones(size >> 3)
    target = np.zeros_like(source)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - began)
    return min(times)


def copy_anew(count, mib):
    source = np.ones(mib << 17)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        arrays = [source.copy() for _ in range(count)]
        times.append(time.perf_counter() - began)
        del arrays
    return min(times)


def gather(client, wait, options, count, mib, first):
    futures = client.map(make, range(first, first + count), [mib] * count, **options)
    wait(futures)
    began = time.perf_counter()
    arrays = client.gather(futures)
    took = time.perf_counter() - began
    assert len(arrays) == count
    assert all((array == make(first + n, mib)).all() for n, array in enumerate(arrays))
    return took


def broadcast(client, options, places, mib, number, ways):
    """The quickest of some ways to scatter, each with other numbers."""
    times = []
    for n, way in enumerate(ways):
        array = make(number + n, mib)
        expected = float(array.sum())
        began = time.perf_counter()
        value = client.scatter(array, **way)
        totals = client.gather(
            [client.submit(read, value, workers=[place], **options) for place in places]
        )
        times.append(time.perf_counter() - began)
        assert totals == [expected] * len(places), totals
        del value
    return min(times)


def main():
    peer, workers, count, mib, size = sys.argv[1], *map(int, sys.argv[2:])
    if peer == "dtask":
        import dtask as module
        from dtask import Client, wait

        options, ways = {}, [{}]
    else:
        import distributed as module
        from distributed import Client, wait

        options = {"pure": False}
        # By default it goes through the scheduler, which takes minutes.
        direct = {"hash": False, "direct": True}
        ways = [direct, {**direct, "broadcast": True}]
    private = not glob.glob("/dev/shm/*")
    with Client() as client:
        client.wait_for_workers(workers, timeout=60)
        places = list(client.scheduler_info()["workers"])
        gather(client, wait, options, 2 * workers, mib, 0)
        gathered = gather(client, wait, options, count, mib, 1000)
        broadcast(client, options, places, 1, 1, ways)
        read_by_all = broadcast(client, options, places, size, 10, ways)
    print(json.dumps({"gather": gathered, "broadcast": read_by_all, "copy": copy(count * mib << 20),
                      "fresh": copy_anew(count, mib), "private": private, "version": module.__version__}))


if __name__ == "__main__":
    main()

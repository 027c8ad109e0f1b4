# SPDX-License-Identifier: Apache-2.0
"""Large values to the client and from it: ``gather.py dtask|dask WORKERS COUNT MIB BROADCAST`` prints
one line of JSON.

gather     seconds for COUNT arrays of MIB each, which lie on the workers, to be in the client
broadcast  seconds for an array of BROADCAST MiB in the client to be read by a task on each worker, by
           the quicker one of the ways that Dask has; PATIENCE where it takes longer than that
copy       seconds for the bytes of the gather to be copied from memory to memory, the best of 5
fresh      the same, to new memory, COUNT times MIB
private    whether the client sees no shared memory of the workers, as if it were on another machine

There are other numbers in each array. All are checked; that is not timed.
"""

import glob
import json
import os
import sys
import threading
import time

import numpy as np

PATIENCE = 60.0  # s


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


def broadcast(client, options, places, mib, number, way):
    array = make(number, mib)
    expected = float(array.sum())
    began = time.perf_counter()
    value = client.scatter(array, **way)
    totals = client.gather(
        [client.submit(read, value, workers=[place], **options) for place in places]
    )
    took = time.perf_counter() - began
    assert totals == [expected] * len(places), totals
    return took


def quickest(client, options, places, mib, number, ways):
    """The time of the quickest way, each with other numbers. None is waited for longer than PATIENCE:
    what comes after it would be disturbed by it, and is left out."""
    times = []
    for n, way in enumerate(ways):
        thread = threading.Thread(
            target=lambda: times.append(broadcast(client, options, places, mib, number + n, way)),
            daemon=True,
        )
        thread.start()
        thread.join(PATIENCE)
        if thread.is_alive():
            return min(times, default=PATIENCE)
        if len(times) <= n:
            raise SystemExit("the broadcast has failed")
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
        ways = [{**direct, "broadcast": True}, direct]
    private = not glob.glob("/dev/shm/*")
    client = Client()
    client.wait_for_workers(workers, timeout=60)
    places = list(client.scheduler_info()["workers"])
    gather(client, wait, options, 2 * workers, mib, 0)
    gathered = gather(client, wait, options, count, mib, 1000)
    copied, anew = copy(count * mib << 20), copy_anew(count, mib)
    quickest(client, options, places, 1, 1, ways)
    read_by_all = quickest(client, options, places, size, 10, ways)
    print(json.dumps({"gather": gathered, "broadcast": read_by_all, "copy": copied, "fresh": anew,
                      "private": private, "version": module.__version__}), flush=True)
    os._exit(0)  # what takes too long is not waited for


if __name__ == "__main__":
    main()

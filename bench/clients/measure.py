# SPDX-License-Identifier: Apache-2.0
"""One measured client: ``measure.py PEER WORKERS CALLS`` prints one line of JSON.

PEER is dtask, dask or pool. The rate is that of a map of a no-op over CALLS inputs with all
results gathered, after one such map to warm up; the latency is the median of 300 single calls,
each waited for, on an idle cluster. Seconds throughout.
"""

import json
import statistics
import sys
import time


def noop(x):
    return x


def latency(one):
    times = []
    for n in range(300):
        began = time.perf_counter()
        one(n)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def report(everything, one, calls, version):
    everything(max(calls // 10, 100))
    began = time.perf_counter()
    everything(calls)
    took = time.perf_counter() - began
    print(json.dumps({"rate": calls / took, "latency": latency(one), "version": version}))


def dtask(workers, calls):
    import dtask

    with dtask.Client() as client:
        client.wait_for_workers(workers, timeout=60)

        def everything(n):
            assert client.gather(client.map(noop, range(n))) == list(range(n))

        report(everything, lambda n: client.submit(noop, n).result(), calls, dtask.__version__)


def dask(workers, calls):
    import distributed

    with distributed.Client() as client:
        client.wait_for_workers(workers, timeout=60)

        def everything(n):
            assert client.gather(client.map(noop, range(n), pure=False)) == list(range(n))

        report(
            everything,
            lambda n: client.submit(noop, n, pure=False).result(),
            calls,
            distributed.__version__,
        )


def pool(workers, calls):
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(workers) as executor:

        def everything(n):
            assert list(executor.map(noop, range(n))) == list(range(n))

        report(
            everything,
            lambda n: executor.submit(noop, n).result(),
            calls,
            "Python " + sys.version.split()[0],
        )


if __name__ == "__main__":
    peer, workers, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    {"dtask": dtask, "dask": dask, "pool": pool}[peer](workers, calls)

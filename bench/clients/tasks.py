# SPDX-License-Identifier: Apache-2.0
"""Calls of a function that does nothing: ``tasks.py PEER WORKERS CALLS`` prints one line of JSON.

PEER is dtask, dask, pool (ProcessPoolExecutor), imap (multiprocessing.Pool.imap_unordered), map
(multiprocessing.Pool.map with the chunks that it chooses), mpi (mpi4py.futures) or loky (joblib).
`rate` is calls a second, of a map over CALLS numbers with all results in hand, each checked, after a
tenth of it to warm up; `chunked` the same where the peer chooses how many calls travel together.
`latency` is the median of 1,000 single calls, each waited for, on an idle cluster, in seconds.
"""

import json
import statistics
import sys
import time

SINGLE = 1000


def noop(x):
    return x


def rate(everything, calls):
    everything(max(calls // 10, 100))
    began = time.perf_counter()
    assert everything(calls) == list(range(calls))
    return calls / (time.perf_counter() - began)


def latency(one):
    times = []
    for n in range(SINGLE + 100):
        began = time.perf_counter()
        one(n)
        times.append(time.perf_counter() - began)
    return statistics.median(times[100:])


def dtask(workers, calls):
    import dtask

    with dtask.Client() as client:
        client.wait_for_workers(workers, timeout=60)
        pool = client.get_executor()
        return {
            "latency": latency(lambda n: client.submit(noop, n).result()),
            "rate": rate(lambda n: client.gather(client.map(noop, range(n))), calls),
            "chunked": rate(lambda n: list(pool.map(noop, range(n), chunksize="auto")), calls),
            "version": dtask.__version__,
        }


def dask(workers, calls):
    import distributed

    with distributed.Client() as client:
        client.wait_for_workers(workers, timeout=60)
        return {
            "latency": latency(lambda n: client.submit(noop, n, pure=False).result()),
            "rate": rate(lambda n: client.gather(client.map(noop, range(n), pure=False)), calls),
            "version": distributed.__version__,
        }


def pool(workers, calls):
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(workers) as executor:
        return {
            "latency": latency(lambda n: executor.submit(noop, n).result()),
            "rate": rate(lambda n: list(executor.map(noop, range(n))), calls),
        }


def imap(workers, calls):
    from multiprocessing import Pool

    with Pool(workers) as processes:
        return {"rate": rate(lambda n: sorted(processes.imap_unordered(noop, range(n))), calls)}


def map_(workers, calls):
    from multiprocessing import Pool

    with Pool(workers) as processes:
        return {"chunked": rate(lambda n: processes.map(noop, range(n)), calls)}


def mpi(workers, calls):
    import mpi4py
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor(workers) as executor:
        everything = rate(lambda n: list(executor.map(noop, range(n))), calls)
    return {"rate": everything, "version": mpi4py.__version__}


def loky(workers, calls):
    import joblib

    parallel = joblib.Parallel(n_jobs=workers, backend="loky", batch_size=1, pre_dispatch="all")
    with parallel:
        everything = rate(lambda n: parallel(joblib.delayed(noop)(x) for x in range(n)), calls)
    return {"rate": everything, "version": joblib.__version__}


if __name__ == "__main__":
    peer, workers, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    peers = {"dtask": dtask, "dask": dask, "pool": pool, "imap": imap, "map": map_, "mpi": mpi}
    result = {"version": "Python " + sys.version.split()[0]}
    result.update({**peers, "loky": loky}[peer](workers, calls))
    print(json.dumps(result))

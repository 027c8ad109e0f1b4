# SPDX-License-Identifier: Apache-2.0
"""Dask's collections and joblib's calls on a cluster of `dtask run`, and real Dask in its place."""

import pytest

pytestmark = pytest.mark.e2e


def test_dask_graphs_survive_a_crash(cluster):
    """The first try of one node kills its process; the values are those of one process."""
    code = cluster.run(
        """
        import operator, os
        import dask, dask.array, dask.bag
        import dtask

        def crash_once(block):
            if not block.size:
                return block  # Dask looks what comes of an empty one, in the client
            try:
                os.close(os.open("crashed", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return block
            os.kill(os.getpid(), 9)

        x = dask.array.arange(40_000, chunks=5_000).map_blocks(crash_once, dtype=int)
        numbers = dask.bag.from_sequence(range(100), npartitions=6).map(lambda n: n * n)
        total = dask.delayed(operator.add)(x.sum(), numbers.sum())
        print("ours", total.compute(scheduler=dtask.dask.get))
        with dask.config.set(scheduler=dtask.dask.get):
            kept = (x + 1).persist()
            print("kept", int(kept.max().compute()), os.path.exists("crashed"))
            try:
                dask.delayed(int)("no number").compute()
            except ValueError as error:
                print("raised", error)
        """,
        tasks=4,
        seconds=90,
    )
    assert code == 0, cluster.err
    assert cluster.field("ours") == str(sum(range(40_000)) + sum(n * n for n in range(100)))
    assert cluster.field("kept") == "40000 True"
    assert cluster.field("raised").startswith("invalid literal")


def test_joblib(cluster):
    code = cluster.run(
        """
        import os
        import joblib, dtask

        def square(x):
            if x == 777:
                raise ValueError("777")
            return x * x, os.getpid()

        dtask.joblib.register()
        client = dtask.Client()
        client.wait_for_workers(timeout=60)
        with joblib.parallel_backend("dtask"):
            print("jobs", joblib.effective_n_jobs(-1), sum(w.concurrency for w in client.workers()))
            done = joblib.Parallel()(joblib.delayed(square)(x) for x in range(700))
            print("sum", sum(value for value, _ in done))
            print("here", os.getpid() in {pid for _, pid in done})
            try:
                joblib.Parallel()(joblib.delayed(square)(x) for x in range(3000))
            except ValueError as error:
                print("raised", error)
        """,
        "--concurrency=2",
        seconds=90,
    )
    assert code == 0, cluster.err
    assert cluster.field("jobs") == "4 4"
    assert cluster.field("sum") == str(sum(x * x for x in range(700)))
    assert cluster.field("here") == "False"
    assert cluster.field("raised") == "777"


def test_scripts_for_a_cluster_of_their_own_use_the_one_of_dask(cluster):
    code = cluster.run(
        """
        from dask_mpi import initialize
        from dask.distributed import Client

        initialize(nthreads=1, interface="ib0")
        local = {"n_workers": 9, "processes": True}
        for how in {}, local, {"scheduler_file": "7.sched", "nthreads": 1}:
            with Client(**how) as client:
                client.wait_for_workers(2)
                workers = client.scheduler_info()["workers"]
                print("workers", len(workers), client.submit(abs, -7).result())
        """,
        "--engine=dask",
        "--wait=all",
        seconds=120,
    )
    assert code == 0, cluster.err
    assert cluster.out.splitlines() == ["workers 2 7"] * 3
    told = [line for line in cluster.err.splitlines() if line.startswith("dtask: ")]
    start = "dtask: Client() uses the cluster of the step; not taken: "
    assert told == [
        "dtask: dask_mpi.initialize: the step's own values hold, not interface='ib0' "
        "(it uses auto: --dtask-interface)",
        start + "n_workers, processes",
        start + "nthreads, scheduler_file",
    ]

# SPDX-License-Identifier: Apache-2.0
"""Written for dask-mpi: must run unchanged."""

import os

from dask_mpi import initialize
from distributed import Client

initialize(nthreads=int(os.environ["SLURM_CPUS_PER_TASK"]), memory_limit="250MB")
with Client() as client:
    client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=60)
    print("workers", len(client.scheduler_info()["workers"]))
    print("squares", sum(client.gather(client.map(lambda x: x * x, range(20)))))

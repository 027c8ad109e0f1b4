# SPDX-License-Identifier: Apache-2.0
"""Start-up as dask-jobqueue documents it for its SLURMRunner: ``srun -n N python slurm_runner.py``.

Rank 0 is the scheduler, rank 1 the client, the others are workers. They find each other by a file
named after the job in the shared directory, which they poll for without an end. When the client has
left the runner's block, it shuts the scheduler down; with an error the block is left as well, and
the others end as the scheduler does.
"""

import asyncio
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "clients"))

import start  # noqa: E402
from distributed import Client, Scheduler, Worker  # noqa: E402

FILE = os.environ["SCHED_FILE"]


async def scheduler():
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address=":0") as server:
        with open(FILE, "w", encoding="utf-8") as file:
            json.dump(server.identity(), file, default=str)
        await server.finished()


def address():
    while not os.path.exists(FILE):
        time.sleep(0.2)
    with open(FILE, encoding="utf-8") as file:
        return json.load(file)["address"]


async def worker():
    limit = int(os.environ["MEM"]) << 20
    async with Worker(address(), nthreads=1, memory_limit=limit, local_directory="/tmp") as server:
        await server.finished()


def main():
    rank = int(os.environ["SLURM_PROCID"])
    if rank == 1:
        with Client(address()) as client:
            try:
                start.do(client, sys.argv[1], int((sys.argv[2:] or ["1"])[0]))
            finally:
                client.shutdown()
    else:
        asyncio.run(scheduler() if rank == 0 else worker())


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Start-up as dask-mpi documents it for `initialize()`: ``mpirun -n N python mpi_style.py``.

Rank 0 is the scheduler and tells its address to all by a broadcast, rank 1 goes on as the client, the
others are workers. The client asks the scheduler to close when its interpreter exits.
"""

import asyncio
import atexit
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "clients"))

import start  # noqa: E402
from distributed import Client, Scheduler, Worker  # noqa: E402
from mpi4py import MPI  # noqa: E402


def initialize():
    comm = MPI.COMM_WORLD
    rank = comm.Get_rank()

    async def scheduler():
        async with Scheduler(host="127.0.0.1", port=0, dashboard_address=":0") as server:
            comm.bcast(server.address, root=0)
            comm.Barrier()
            await server.finished()

    async def worker(address):
        limit = int(os.environ["MEM"]) << 20
        async with Worker(address, nthreads=1, memory_limit=limit, local_directory="/tmp") as server:
            await server.finished()

    if rank == 0:
        asyncio.run(scheduler())
        sys.exit()
    address = comm.bcast(None, root=0)
    comm.Barrier()
    if rank > 1:
        asyncio.run(worker(address))
        sys.exit()

    def close():
        async def stop(dask_scheduler):
            asyncio.get_running_loop().call_later(0.1, lambda: asyncio.ensure_future(
                dask_scheduler.close()))

        with Client(address) as client:
            client.run_on_scheduler(stop)

    atexit.register(close)
    return address


def main():
    address = initialize()
    with Client(address) as client:
        start.do(client, sys.argv[1], int((sys.argv[2:] or ["1"])[0]))


if __name__ == "__main__":
    main()

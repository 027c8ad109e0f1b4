# SPDX-License-Identifier: Apache-2.0
"""What each worker has of memory, by all who tell: `own_limits.py`, in either engine.

Prints `told NAME LIMIT` for each worker as the client's library has it; `client LIMIT`, of the client's
environment; and, but for Dask, `status NAME LIMIT` as `dtask status` has it, `sees NAME LIMIT` as a
function there does, and `hog NAME LIMIT NAMED`: the limit in the error of one that takes memory without
end, and whether the error is that worker's own. Bytes.
"""

import json
import os
import subprocess

ENGINE = os.environ["DTASK_ENGINE"]
EXPECTED = int(os.environ["DTASK_NWORKERS"])
if ENGINE == "dask":
    from distributed import Client
else:
    from dtask import Client, MemoryLimitExceeded


def hog():
    blocks = []
    while True:
        blocks.append(bytearray(b"x") * (4 << 20))


def seen():
    return os.environ["DTASK_WORKER"], os.environ["DTASK_MEMORY_LIMIT"]


def ours(client):
    workers = client.workers()
    for worker in workers:
        print("told", worker.name, worker.memory_limit)
    status = json.loads(subprocess.check_output(["dtask", "status", "--json"]))
    for worker in status["workers"]:
        print("status", worker["name"], worker["memory_limit"])
    for name, limit in client.run(seen).values():
        print("sees", name, limit)
    hogs = [(worker, client.submit(hog, workers=[worker.name])) for worker in workers]
    for worker, future in hogs:
        error = future.exception(120)
        assert isinstance(error, MemoryLimitExceeded), error
        named = (error.worker, error.node) == (worker.name, worker.node)
        print("hog", worker.name, error.limit, named and f"{error.limit / 2**20:.1f} MiB" in str(error))


def dasks(client):
    for worker in client.scheduler_info()["workers"].values():
        print("told", worker["name"], worker["memory_limit"])


with Client() as client:
    client.wait_for_workers(EXPECTED, timeout=120)
    print("client", os.environ["DTASK_MEMORY_LIMIT"])
    dasks(client) if ENGINE == "dask" else ours(client)

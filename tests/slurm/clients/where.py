# SPDX-License-Identifier: Apache-2.0
"""Says where its cluster is, in either engine: `where.py [hold FILE]`.

Prints `scheduler ADDRESS`, `worker NAME ADDRESS` (one a worker), `squares N` and `host NAME`; with
`hold`, stays until FILE exists, for whoever looks at the sockets meanwhile.
"""

import os
import socket
import sys
import time

ENGINE = os.environ["DTASK_ENGINE"]
EXPECTED = int(os.environ["DTASK_NWORKERS"])

if ENGINE == "dask":
    from dask.distributed import Client
else:
    from dtask import Client

client = Client()
client.wait_for_workers(EXPECTED, timeout=120)
workers = client.scheduler_info()["workers"]
print("scheduler", client.scheduler.address if ENGINE == "dask" else os.environ["DTASK_ADDRESS"])
for address, worker in sorted(workers.items()):
    print("worker", worker["name"], address)
print("squares", sum(client.gather(client.map(lambda x: x * x, range(100)))))
# From worker to worker: what one has is wanted by all others.
whole = client.scatter(b"x" * (1 << 20))
print("lengths", sum(client.gather([client.submit(lambda b, i: len(b), whole, i) for i in range(20)])))
print("host", socket.gethostname(), flush=True)
if sys.argv[1:2] == ["hold"]:
    give_up = time.monotonic() + 120
    while not os.path.exists(sys.argv[2]) and time.monotonic() < give_up:
        time.sleep(0.05)

# SPDX-License-Identifier: Apache-2.0
"""Prints what the client sees of its cluster: `worker NAME NODE CPUS MEMORY`, one a worker.

With the argument `hold FILE`, stays until FILE exists, for whoever reads the limits meanwhile.
"""

import os
import sys
import time

import dtask

client = dtask.Client()
expected = int(os.environ["DTASK_NWORKERS"])
client.wait_for_workers(expected, timeout=30)
print("expected", expected)
for worker in client.workers():
    print("worker", worker.name, worker.node, worker.nthreads, worker.memory_limit)
print("squares", sum(client.gather(client.map(lambda x: x * x, range(100)))))
print("job", os.environ.get("SLURM_JOB_ID", "none"), flush=True)
if sys.argv[1:2] == ["hold"]:
    give_up = time.monotonic() + 60
    while not os.path.exists(sys.argv[2]) and time.monotonic() < give_up:
        time.sleep(0.05)

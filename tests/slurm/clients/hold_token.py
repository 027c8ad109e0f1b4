# SPDX-License-Identifier: Apache-2.0
"""Writes its token to a file that is its user's alone, then maps: `hold_token.py FILE COUNT`.

Each call takes 50 ms. Says `started` once it has its workers, and `right COUNT` at the end.
"""

import os
import sys
import time

import dtask

descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
os.write(descriptor, os.environ["DTASK_TOKEN"].encode())
os.close(descriptor)
client = dtask.Client()
client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=30)
futures = client.map(lambda x: time.sleep(0.05) or x, range(int(sys.argv[2])))
print("file", os.environ["DTASK_SCHEDULER_FILE"])
print("started", time.time(), flush=True)
print("right", sum(a == b for a, b in enumerate(client.gather(futures))))

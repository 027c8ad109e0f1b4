# SPDX-License-Identifier: Apache-2.0
"""A map of N calls of MILLISECONDS each whose results are checked: `long_map.py N MILLISECONDS`.

Says `started` when the first tenth is done, then `right COUNT` and `wrong COUNT`.
"""

import os
import sys
import time

import dtask

count, pause = int(sys.argv[1]), int(sys.argv[2]) / 1000


def work(x):
    time.sleep(pause)
    return x * x


client = dtask.Client()
client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=30)
futures = client.map(work, range(count))
for done, _ in enumerate(dtask.as_completed(futures), 1):
    if done == max(1, count // 10):
        print("started", time.time(), flush=True)
results = client.gather(futures)
right = sum(result == x * x for x, result in enumerate(results))
print("right", right)
print("wrong", count - right, flush=True)

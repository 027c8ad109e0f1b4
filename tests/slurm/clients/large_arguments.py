# SPDX-License-Identifier: Apache-2.0
"""`large_arguments.py N`: N calls that wait at the scheduler, with an argument of 1 MiB each.

Says `lost` where the cluster was.
"""

import os
import sys
import time

import dtask


def busy(_):
    time.sleep(1000)


client = dtask.Client()
client.wait_for_workers(2, timeout=100)
try:
    futures = []
    for _ in range(int(sys.argv[1])):
        futures.append(client.submit(busy, os.urandom(1 << 20)))
        client.info(timeout=200)  # it has the argument, and this process no more
    for future in futures:
        future.result()
except dtask.ClusterLost:
    print("lost")
    raise

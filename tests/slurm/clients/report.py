# SPDX-License-Identifier: Apache-2.0
"""Prints a marker and how many workers the client has: for job scripts."""

import os

import dtask

client = dtask.Client()
client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=30)
print("cluster", len(client.workers()), client.submit(sum, [1, 2, 3]).result(30))

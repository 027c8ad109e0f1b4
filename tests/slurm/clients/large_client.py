# SPDX-License-Identifier: Apache-2.0
"""A client that grows to some size, and workers that all get to their limits at the same moment.

`large_client.py MB ROUNDS`: the size, and how often each worker's function grows without end.
Says `holds MB`, then `exceeded N of N` and `right N`.
"""

import sys

import dtask


def hog():
    blocks = []
    while True:
        blocks.append(bytearray(b"x") * (1 << 20))


megabytes, rounds = int(sys.argv[1]), int(sys.argv[2])
client = dtask.Client()
client.wait_for_workers(2, timeout=100)
workers = len(client.workers())
client.gather(client.map(abs, range(20)))
held = [bytearray(b"x") * (1 << 20) for _ in range(megabytes)]
print("holds", len(held), flush=True)
exceeded = 0
for _ in range(rounds):
    for future in [client.submit(hog) for _ in range(workers)]:
        try:
            future.result(100)
        except dtask.MemoryLimitExceeded as error:
            print(error)
            exceeded += 1
print("exceeded", exceeded, "of", workers * rounds)
print("right", sum(a == b for a, b in enumerate(client.gather(client.map(abs, range(200))))))

# SPDX-License-Identifier: Apache-2.0
"""One function that allocates without end among 200 good ones, and what its future raises."""

import dtask


def good(x):
    return x * x


def hog():
    blocks = []
    while True:
        blocks.append(bytearray(b"x") * (4 << 20))


client = dtask.Client()
client.wait_for_workers(2, timeout=30)
before = client.map(good, range(100))
bad = client.submit(hog)
after = client.map(good, range(100, 200))
try:
    bad.result(60)
except dtask.MemoryLimitExceeded as error:
    print("message", error)
    for name in ("task", "limit", "peak", "worker", "node"):
        print(name, getattr(error, name))
print("right", sum(a == b * b for b, a in enumerate(client.gather(before + after))))

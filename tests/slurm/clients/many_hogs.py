# SPDX-License-Identifier: Apache-2.0
"""Many functions that allocate without end, between 200 good ones: `many_hogs.py COUNT`."""

import sys

import dtask


def good(x):
    return x * x


def hog(_):
    blocks = []
    while True:
        blocks.append(bytearray(b"x") * (4 << 20))


client = dtask.Client()
client.wait_for_workers(2, timeout=30)
count = int(sys.argv[1])
bad = client.map(hog, range(count))
fine = client.map(good, range(200))
exceeded = 0
for future in bad:
    try:
        future.result(100)
    except dtask.MemoryLimitExceeded:
        exceeded += 1
print("exceeded", exceeded)
print("right", sum(a == b * b for b, a in enumerate(client.gather(fine))))

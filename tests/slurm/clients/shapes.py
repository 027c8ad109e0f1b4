# SPDX-License-Identifier: Apache-2.0
"""Functions that get over their worker's memory limit in several ways, one that stays just below.

`shapes.py GO` says `limit BYTES`, and begins when the file GO is there. Each way gives a line:
`WAY MemoryLimitExceeded PEAK`, or `WAY done`.
"""

import mmap
import os
import subprocess
import sys
import tempfile
import time

import dtask

megabyte = 1 << 20


def slow():
    blocks = []
    while True:
        blocks.append(bytearray(megabyte))
        time.sleep(0.005)


def at_once(limit):
    return len(bytearray(b"x") * (4 * limit))


def child():
    grow = "blocks = []\nwhile True: blocks.append(bytearray(b'x') * (1 << 20))"
    return subprocess.run([sys.executable, "-S", "-c", grow]).returncode


def shared(limit):
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.truncate(2 * limit)
        with mmap.mmap(file.fileno(), 2 * limit) as view:
            for start in range(0, 2 * limit, megabyte):
                view[start : start + megabyte] = b"x" * megabyte
    return "it fits"


def used():
    """Of the group, what is no file that was read."""
    with open("/proc/self/cgroup") as file:
        groups = dict(line.strip().split(":", 2)[1:] for line in file)
    here = "/sys/fs/cgroup" + (f"/memory{groups['memory']}" if "memory" in groups else groups[""])
    name = "memory.usage_in_bytes" if "memory" in groups else "memory.current"
    with open(f"{here}/{name}") as total, open(f"{here}/memory.stat") as stat:
        parts = dict(line.split() for line in stat)
        return int(total.read()) - int(parts["active_file"]) - int(parts["inactive_file"])


def stay(limit):
    blocks = []
    while used() < limit * 0.95:
        blocks.append(bytearray(b"x") * (megabyte // 4))
    time.sleep(3)
    return "done"


client = dtask.Client()
client.wait_for_workers(1, timeout=100)
limit = client.workers()[0].memory_limit
client.submit(abs, 1).result(100)  # its executor is there
print("limit", limit, flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
for function, arguments in (
    (stay, [limit]),
    (slow, []),
    (at_once, [limit]),
    (child, []),
    (shared, [limit]),
):
    way = function.__name__.replace("_", "-")
    try:
        print(way, client.submit(function, *arguments).result(200), flush=True)
    except dtask.MemoryLimitExceeded as error:
        print(way, "MemoryLimitExceeded", error.peak, flush=True)
print("right", sum(a == b for a, b in enumerate(client.gather(client.map(abs, range(20))))))

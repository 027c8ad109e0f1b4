# SPDX-License-Identifier: Apache-2.0
"""Tasks that submit tasks and wait for them, deeper than there are workers, under a memory limit;
then one of them that passes it."""

import dtask


def fib(n):
    if n < 2:
        return n
    with dtask.Client() as client:
        one, two = client.submit(fib, n - 1), client.submit(fib, n - 2)
        return one.result() + two.result()


def hog(depth):
    if depth:
        with dtask.Client() as client:
            return client.submit(hog, depth - 1).result()
    return len(b"x" * (1 << 30))


client = dtask.Client()
client.wait_for_workers(timeout=60)
print("fib", client.submit(fib, 8).result(100))
try:
    client.submit(hog, 2).result(100)
except dtask.MemoryLimitExceeded as error:
    print("limit", error.limit)
print("after", client.submit(fib, 3).result(100))
print("workers", len(client.workers()))

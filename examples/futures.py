#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""concurrent.futures: what ran on one machine's processes runs on the whole step.

The same script runs on dtask's own engine and on real Dask:

srun --dtask -n 8 python3 futures.py
srun --dtask=dask -n 8 python3 futures.py
"""

import os
from concurrent.futures import as_completed


def connect():
    """A client of the cluster of this step."""
    if os.environ.get("DTASK_ENGINE") == "dask":
        from dask.distributed import Client
    else:
        from dtask import Client
    return Client()


def longest_below(first, last):
    """The number of a range from which the Collatz sequence takes most steps, and how many."""
    best = (0, 0)
    for start in range(first, last):
        number, steps = start, 0
        while number > 1:
            number = number // 2 if number % 2 == 0 else 3 * number + 1
            steps += 1
        best = max(best, (steps, start))
    return best


def main():
    with connect() as client:
        pool = client.get_executor()  # was: ProcessPoolExecutor()
        futures = [pool.submit(longest_below, i, i + 2_000) for i in range(1, 40_000, 2_000)]
        best = (0, 0)
        for future in as_completed(futures):  # each as soon as it is there
            best = max(best, future.result())
        print(f"{best[1]} takes {best[0]} steps")
        lengths = pool.map(len, ["results", "come", "in", "order"])
        print(*lengths)


if __name__ == "__main__":
    main()

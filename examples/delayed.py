#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dask.delayed: an ordinary program whose function calls become tasks.

The same script runs on dtask's own engine and on real Dask:

srun --dtask -n 8 python3 delayed.py
srun --dtask=dask -n 8 python3 delayed.py
"""

import math
import os

import dask


def connect():
    """Make the cluster of this step the one on which dask computes."""
    if os.environ.get("DTASK_ENGINE") == "dask":
        from dask.distributed import Client
    else:
        import dtask
        from dtask import Client

        dask.config.set(scheduler=dtask.dask.get)
    return Client()


@dask.delayed
def area(left, right, steps=50_000):
    """The area below a quarter of a circle, between two places on the x axis."""
    width = (right - left) / steps
    places = (left + (i + 0.5) * width for i in range(steps))
    return math.fsum(math.sqrt(1 - x * x) * width for x in places)


@dask.delayed
def add(parts):
    return math.fsum(parts)


def main():
    with connect():
        pieces = [area(i / 20, (i + 1) / 20) for i in range(20)]  # nothing has run yet
        quarter = add(pieces)
        print(f"pi is about {4 * quarter.compute():.6f}")


if __name__ == "__main__":
    main()

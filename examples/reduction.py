#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dask.array: a reduction of an array that no process holds whole.

The same script runs on dtask's own engine and on real Dask:

srun --dtask -n 8 python3 reduction.py
srun --dtask=dask -n 8 python3 reduction.py
"""

import os

import dask
import dask.array


def connect():
    """Make the cluster of this step the one on which dask computes."""
    if os.environ.get("DTASK_ENGINE") == "dask":
        from dask.distributed import Client
    else:
        import dtask
        from dtask import Client

        dask.config.set(scheduler=dtask.dask.get)
    return Client()


def main():
    with connect():
        x = dask.array.linspace(0, 1, 8_000_000, chunks=1_000_000)  # 8 blocks of 8 MB
        waves = dask.array.sin(100 * x).reshape(8_000, 1_000)
        mean, highest = dask.compute(waves.mean(), waves.std(axis=0).max())
        print(f"mean {mean:.6f}, highest deviation of a column {highest:.6f}")


if __name__ == "__main__":
    main()

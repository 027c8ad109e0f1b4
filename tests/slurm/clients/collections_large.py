# SPDX-License-Identifier: Apache-2.0
"""An array three times as large as the memory of all workers, needed twice: ``... MADE GO``.

The second use waits until the first one is over, when all blocks are held; the file MADE is
written then, and it goes on once the file GO is there. Prints `limits` and `array`, both in bytes,
and `right` or what was wrong.
"""

import os
import sys
import time

import dask.array as da
import numpy as np
from dask import delayed

import dtask
from dtask.dask import get

BLOCK = 512 << 10  # numbers: 4 MiB
made, go = sys.argv[1:]


def gate(mean):
    with open(made, "w"):
        pass
    end = time.monotonic() + 120
    while not os.path.exists(go) and time.monotonic() < end:
        time.sleep(0.02)
    return mean


with dtask.Client() as client:
    client.wait_for_workers(2, timeout=60)
    limits = sum(worker.memory_limit for worker in client.workers())
    print("limits", limits, flush=True)
    count = -(-3 * limits // (8 * BLOCK)) * BLOCK
    x = da.arange(count, chunks=BLOCK, dtype=float)
    print("array", x.nbytes, flush=True)
    mean = da.from_delayed(delayed(gate)(x.mean()), (), float)
    variance = ((x - mean) ** 2).mean().compute(scheduler=get)
    expected = (float(count) ** 2 - 1) / 12
    print("right" if np.isclose(variance, expected, 1e-9) else f"{variance}, not {expected}")

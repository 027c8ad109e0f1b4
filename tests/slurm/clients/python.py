# SPDX-License-Identifier: Apache-2.0
"""Which Python client and executors are: `python.py WORKERS`.

Prints `client` and, for each worker, `worker`, with what tells one Python from another: its prefix, the
value of the module `only_here`, where there is one, which libstdc++ a library of its own would get
(`mark` of a stand-in, or `the system's`), and the root's file /mnt/here, where it has one.
"""

import ctypes
import os
import sys

import dtask


def seen():
    try:
        from only_here import value
    except ImportError:
        value = None
    cxx = getattr(ctypes.CDLL("libstdc++.so.6"), "mark", None)
    mark = cxx() if cxx else "the system's"
    root = open("/mnt/here").read().strip() if os.path.exists("/mnt/here") else "-"
    return sys.prefix, value, mark, root


print("client", *seen())
with dtask.Client() as client:
    client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=60)
    for worker, place in sorted(client.run(seen).items()):
        print("worker", *place)

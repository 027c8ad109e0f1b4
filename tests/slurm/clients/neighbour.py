# SPDX-License-Identifier: Apache-2.0
"""What a task looks like beside the plugin of tests/fakes/neighbour.c: `neighbour.py ARG`.

Prints `client` and, in a cluster, `worker`, once for each place, with: the variable NEIGHBOUR,
whether NEIGHBOUR_GONE has gone, the working directory, whether the file of its root is there, ARG.
"""

import os
import sys


def seen(argument):
    gone = "NEIGHBOUR_GONE" not in os.environ
    there = os.path.exists("/mnt/neighbour")
    return os.environ.get("NEIGHBOUR"), gone, os.getcwd(), there, argument


print("client", *seen(sys.argv[1]))
if "DTASK_ADDRESS" in os.environ:
    import dtask

    with dtask.Client() as client:
        client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=60)
        print("workers", len(client.workers()))
        for place in set(client.gather(client.map(seen, [sys.argv[1]] * 60))):
            print("worker", *place)

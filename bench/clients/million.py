# SPDX-License-Identifier: Apache-2.0
"""A graph of COUNT nodes through dtask.dask.get: ``million.py COUNT``.

Prints one line of JSON: seconds, nodes a second, and by how many bytes a node the scheduler's
memory has grown at its peak. The scheduler must run on this machine. The graph is of no work: half
of the nodes are leaves, the others add two values each, so that no two can be fused. All leaves
need the value of a gate that opens once the whole graph is with the scheduler: it holds every node
at once. The result is checked.
"""

import json
import operator
import os
import resource
import sys
import tempfile
import time

import dtask
from dtask.dask import get


class Gated(dtask.Client):
    """Opens the gate when it waits for the results."""

    gate = None

    def gather(self, *args, **kwargs):
        if self.gate:
            with open(self.gate, "w"):
                pass
        return super().gather(*args, **kwargs)


def wait_for(gate):
    while not os.path.exists(gate):
        time.sleep(0.05)
    return 0


def plus(x, text):
    return x + int(text)


def graph(count, gate):
    leaves = count // 2
    nodes = {"gate": (wait_for, gate)}
    for n in range(leaves):
        nodes[n] = (plus, "gate", str(n))
    level, last = list(range(leaves)), leaves
    while len(level) > 1:
        above = []
        for n in range(0, len(level) - 1, 2):
            nodes[last] = (operator.add, level[n], level[n + 1])
            above.append(last)
            last += 1
        level = above + level[len(above) * 2 :]
    return nodes, level[0], leaves * (leaves - 1) // 2


def memory(pid, name):
    """Bytes, of that line of the process's status."""
    with open(f"/proc/{pid}/status") as lines:
        for line in lines:
            if line.startswith(name + ":"):
                return int(line.split()[1]) << 10
    raise SystemExit(f"no {name} of process {pid}")


def main():
    count = int(sys.argv[1])
    with open(os.environ["DTASK_SCHEDULER_FILE"]) as file:
        scheduler = json.load(file)["pid"]
    with Gated() as client, tempfile.TemporaryDirectory() as directory:
        client.wait_for_workers(timeout=60)
        assert get({"warm": (operator.neg, 1)}, "warm", client=client) == -1
        client.gate = os.path.join(directory, "gate")
        nodes, top, expected = graph(count, client.gate)
        before = memory(scheduler, "VmRSS")
        began = time.perf_counter()
        assert get(nodes, top, client=client) == expected
        took = time.perf_counter() - began
        grown = memory(scheduler, "VmHWM") - before
    print(
        json.dumps(
            {
                "nodes": len(nodes),
                "seconds": round(took, 2),
                "rate": round(len(nodes) / took),
                "scheduler_bytes_a_node": round(grown / len(nodes)),
                "client_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            }
        )
    )


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""HOGS functions that pass their worker's memory limit among TASKS in all: `hogs.py TASKS HOGS`.

The hogs are spread evenly. Prints one line of JSON: what became of the others and of the hogs, the
seconds of the whole, and of as many good calls alone. A hog takes its memory at once: what is measured
is the kill and the restart more than how fast pages come. Ends with exit code 7, for the step to have.
"""

import json
import os
import sys
import time

import dtask


def good(x):
    return x * x


def hog(limit):
    return len(bytearray(2 * limit))


def call(x, every, limit):
    return hog(limit) if x % every == every // 2 else good(x)


def run(client, tasks, every, limit):
    began = time.monotonic()
    right = wrong = exceeded = other = 0
    limits, peaks = set(), []
    futures = client.map(call, range(tasks), [every] * tasks, [limit] * tasks)
    for x, future in enumerate(futures):
        try:
            value = future.result(1800)
        except dtask.MemoryLimitExceeded as error:
            exceeded += x % every == every // 2
            limits.add(error.limit)
            peaks.append(error.peak / error.limit)
        except dtask.DtaskError:
            other += 1
        else:
            right += value == x * x
            wrong += value != x * x
    peaks.sort()
    return {
        "seconds": round(time.monotonic() - began, 3),
        "right": right,
        "wrong": wrong,
        "exceeded": exceeded,
        "other": other,
        "limits": sorted(limits),
        "peak_of_limit": [round(peaks[0], 3), round(peaks[-1], 3)] if peaks else [],
    }


def daemons(client):
    return sorted((worker.name, worker.pid) for worker in client.workers())


def main():
    tasks, hogs = int(sys.argv[1]), int(sys.argv[2])
    client = dtask.Client()
    client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=60)
    limit = client.workers()[0].memory_limit
    before = daemons(client)
    run(client, 1000, tasks + 1000, limit)  # the function is known, the processes are there
    alone = run(client, tasks - hogs, 2 * tasks + 2, limit)
    among = run(client, tasks, tasks // hogs, limit)
    # What a hog costs a slot beside what the good calls take.
    slots = len(before)
    cost = (among["seconds"] - alone["seconds"]) * slots / hogs
    print(json.dumps({"workers": slots, "alone": alone, "among": among,
                      "seconds_of_a_slot_a_hog": round(cost, 4),
                      "daemons_lost": len(set(before) - set(daemons(client)))}))
    client.close()
    sys.exit(7)


main()

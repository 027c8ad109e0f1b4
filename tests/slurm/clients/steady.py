# SPDX-License-Identifier: Apache-2.0
"""A map that goes on until it is told to end, in either engine: `steady.py FILE [CODE]`.

Calls of 20 ms are kept in flight until FILE exists on the client's host, then it waits for those
that are left. Says `started`, `workers COUNT` whenever their number changes, and at the end `right
COUNT`, `wrong COUNT`, `twice COUNT` (results that came more than once), `most SECONDS` (longest
time without a result) and `on NAME COUNT` (results of each worker); exits with CODE (0).
"""

import collections
import os
import sys
import time

ENGINE = os.environ["DTASK_ENGINE"]
if ENGINE == "dask":
    from distributed import Client
else:
    from dtask import Client

AT_ONCE = 400
go = sys.argv[1]


def work(x):
    time.sleep(0.02)
    return x * x, os.environ.get("SLURM_PROCID")


def number_of_workers(client):
    return len(client.scheduler_info()["workers"])


def main(client):
    told = seen = number_of_workers(client)
    print("workers", seen, flush=True)
    came = collections.Counter()
    places = collections.Counter()
    pending = collections.deque()
    submitted = wrong = 0
    last = time.monotonic()
    most = 0.0
    while pending or not os.path.exists(go):
        if not os.path.exists(go):
            while len(pending) < AT_ONCE:
                future = client.submit(work, submitted, pure=False)
                future.add_done_callback(lambda _, x=submitted: came.update([x]))
                pending.append((submitted, future))
                submitted += 1
        for _ in range(len(pending)):
            x, future = pending.popleft()
            if not future.done():
                pending.append((x, future))
                continue
            value, place = future.result()
            wrong += value != x * x
            places[place] += 1
            now = time.monotonic()
            most, last = max(most, now - last), now
            if sum(places.values()) == 100:
                print("started", time.time(), flush=True)
        seen = number_of_workers(client)
        if seen != told:
            told = seen
            print("workers", told, flush=True)
        time.sleep(0.1)
    print("right", sum(places.values()) - wrong)
    print("wrong", wrong)
    print("lost", submitted - sum(places.values()))
    print("twice", sum(times > 1 for times in came.values()))
    print("most", round(most, 2))
    for place, count in sorted(places.items()):
        print("on", place, count)
    sys.stdout.flush()
    sys.exit(int(sys.argv[2]) if len(sys.argv) > 2 else 0)


with Client() as client:
    main(client)

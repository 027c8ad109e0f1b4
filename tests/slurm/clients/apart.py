# SPDX-License-Identifier: Apache-2.0
"""What a cluster has of its own, then 50 results once FILE exists: `apart.py FILE`.

Prints `address`, `file`, `token` (a digest), `scratch` and `group` of a worker, and `held`; at the
end `right COUNT`.
"""

import hashlib
import os
import sys
import time

import dtask


def of_a_worker():
    with open("/proc/self/cgroup") as file:
        groups = sorted(line.split(":", 2)[2].strip() for line in file)
    return os.environ["DTASK_SCRATCH"], max(groups, key=len)


with dtask.Client() as client:
    client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=60)
    scratch, group = client.submit(of_a_worker).result(60)
    print("address", os.environ["DTASK_ADDRESS"])
    print("file", os.environ["DTASK_SCHEDULER_FILE"])
    print("token", hashlib.sha256(os.environ["DTASK_TOKEN"].encode()).hexdigest()[:12])
    print("scratch", scratch)
    print("group", group)
    print("held", flush=True)
    end = time.monotonic() + 120
    while not os.path.exists(sys.argv[1]) and time.monotonic() < end:
        time.sleep(0.05)
    results = client.gather(client.map(lambda x: x * x, range(50)))
    print("right", sum(result == x * x for x, result in enumerate(results)))

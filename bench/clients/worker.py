# SPDX-License-Identifier: Apache-2.0
"""The client of bench/worker.

worker.py daemon TASKS     runs so many in ten pieces; prints the memory of the worker daemons of its node
worker.py executors N      N calls at a time, each of which tells its memory; then how long it takes until
                           another call runs where a process has killed itself
"""

import json
import os
import signal
import statistics
import sys
import time

from dtask import Client, WorkerCrashed

PIECE = 10000  # calls whose futures are there at a time
MIB = 1 << 10  # KiB


def memory(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        sizes = {words[0]: int(words[1]) for words in map(str.split, file) if words[-1] == "kB"}
    own = sizes["Private_Clean:"] + sizes["Private_Dirty:"]
    return {"rss": sizes["Rss:"] / MIB, "pss": sizes["Pss:"] / MIB, "own": own / MIB}


def most(pids, after):
    found = [memory(pid) for pid in pids]
    return {"after": after, **{name: max(one[name] for one in found) for name in found[0]}}


def daemon(tasks):
    with Client() as client:
        pids = [worker.pid for worker in client.workers()]
        time.sleep(2)  # idle: a second's stat is past
        rows, done = [most(pids, 0)], 0
        for piece in range(1, 11):
            while done < tasks * piece // 10:
                client.gather(client.map(abs, range(PIECE)))
                done += PIECE
            rows.append(most(pids, done))
    return rows


def tell(number):
    import numpy  # noqa: F401: it is what was preloaded

    time.sleep(1)  # until all others run as well
    return memory("self"), os.getpid()


def end():
    os.kill(os.getpid(), signal.SIGKILL)


def executors(count):
    with Client() as client:
        found = client.gather(client.map(tell, range(count)))
        if len({pid for _, pid in found}) != count:
            raise SystemExit("not all of them ran at a time")
        took = []
        for _ in range(10):
            began = time.monotonic()
            if not isinstance(client.submit(end).exception(60), WorkerCrashed):
                raise SystemExit("a process that killed itself has not crashed")
            took.append((time.monotonic() - began) / 3)  # it was tried three times
    return {"pss": sum(one["pss"] for one, _ in found), "own": sum(one["own"] for one, _ in found),
            "restart": statistics.median(took)}


def main():
    kind, number = sys.argv[1], int(sys.argv[2])
    print(json.dumps({"daemon": daemon, "executors": executors}[kind](number)))


if __name__ == "__main__":
    main()

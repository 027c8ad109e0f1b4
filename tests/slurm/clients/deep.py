# SPDX-License-Identifier: Apache-2.0
"""Keeps all workers busy and a deep queue until SIGTERM: `deep.py FILE CODE`.

2,000 calls of 10 ms are under way at any time; of their values most travel with the report, and each
tenth, of 200,000 bytes, stays with its worker and is fetched. Says `started` when 500 are right.
FILE gets a line for what happens: `begin RUN DONE`, where RUN is Slurm's count of restarts and DONE
what the run before it had saved; `signal N DONE SECONDS`, with the time of day, at SIGUSR1, after
which it goes on, and at SIGTERM, when it exits with CODE. A wrong value is code 1.
"""

import collections
import concurrent.futures
import os
import signal
import sys
import time

import dtask

AT_ONCE = 2000
SMALL, LARGE = 20_000, 200_000
file, code = sys.argv[1], int(sys.argv[2])
came = []
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, _: came.append(number))


def note(*words):
    with open(file, "a") as log:
        print(*words, file=log)


def saved():
    """How much was done when a run before this one had to end."""
    try:
        with open(file) as log:
            return max((int(line.split()[2]) for line in log), default=0)
    except FileNotFoundError:
        return 0


def size_of(x):
    return LARGE if x % 10 == 0 else SMALL


def work(x):
    time.sleep(0.01)
    return x, bytes(size_of(x))


def result_of(future):
    """Its result; TimeoutError where a signal has come, and where the value is nobody answers."""
    while True:
        try:
            return future.result(1)
        except concurrent.futures.TimeoutError:
            if came:
                raise


def heed(done):
    """Whether it is time to end."""
    while came:
        number = came.pop(0)
        note("signal", number, done, time.time())
        if number == signal.SIGTERM:
            return True
    return False


def main(client):
    client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=60)
    first = done = submitted = saved()
    note("begin", os.environ.get("SLURM_RESTART_COUNT", "0"), first)
    pending = collections.deque()
    while True:
        while len(pending) < AT_ONCE:
            pending.append((submitted, client.submit(work, submitted)))
            submitted += 1
        if heed(done):
            return
        for _ in range(len(pending)):
            x, future = pending.popleft()
            if not future.done():
                pending.append((x, future))
                continue
            try:
                value, data = result_of(future)
            except (dtask.ClusterLost, concurrent.futures.TimeoutError):
                continue  # workers have heard of the end, too
            assert value == x and len(data) == size_of(x), (x, value, len(data))
            done += 1
            if done == first + 500:
                print("started", time.time(), flush=True)
        time.sleep(0.05)


with dtask.Client() as client:
    main(client)
sys.exit(code)

# SPDX-License-Identifier: Apache-2.0
"""Calls that are under way while somebody sets the clock: `jumps.py DIRECTORY JUMPS CODE`.

Says `under way N`, N from 1, and takes a jump for done when DIRECTORY has the file N. Each time these
are under way: 200 calls of 20 ms; one that has 600 s and ends a second after the jump; one that may
run for LIMIT s and never ends; one whose first try raises after the jump and is to be tried again. A
thread waits for the first one, and has 600 s for it.

Of each jump: `long VALUE`, `doomed EXCEPTION SECONDS`, `again VALUE`. At the end: `right`, `wrong`,
`lost` and `twice` COUNT of the short calls, and `workers` with the counts that were seen. Spans are
measured by the monotonic clock, here too. Exits with CODE.
"""

import collections
import os
import sys
import threading
import time

import dtask

AT_ONCE = 200
LIMIT = 5
directory, jumps, code = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def short(x):
    time.sleep(0.02)
    return x * x


def after(path, pause):
    """Waits until `path` is there, `pause` seconds more; how often it has begun."""
    with open(path + ".tries." + str(pause), "a") as file:
        file.write("x")
        file.flush()
        tries = file.tell()
    while not os.path.exists(path):
        time.sleep(0.02)
    time.sleep(pause)
    return tries


def again(path):
    tries = after(path, 0.5)
    if tries == 1:
        raise ValueError("the first try")
    return tries


def endless():
    while True:
        time.sleep(1)


class Steady:
    """Short calls, AT_ONCE of them under way."""

    def __init__(self, client):
        self.client = client
        self.pending = collections.deque()
        self.came = collections.Counter()
        self.submitted = self.right = self.wrong = 0

    def top_up(self):
        while len(self.pending) < AT_ONCE:
            x = self.submitted
            future = self.client.submit(short, x)
            future.add_done_callback(lambda _, x=x: self.came.update([x]))
            self.pending.append((x, future))
            self.submitted += 1

    def collect(self):
        for _ in range(len(self.pending)):
            x, future = self.pending.popleft()
            if not future.done():
                self.pending.append((x, future))
            elif future.result() == x * x:
                self.right += 1
            else:
                self.wrong += 1

    def until(self, done):
        while not done():
            self.top_up()
            self.collect()
            time.sleep(0.05)


def begun(path):
    return any(name.startswith(os.path.basename(path) + ".tries") for name in os.listdir(directory))


def around(client, steady, number):
    path = os.path.join(directory, str(number))
    long = client.submit(after, path, 1, timeout=600)
    waited = []
    waiter = threading.Thread(target=lambda: waited.append(long.result(600)))
    waiter.start()
    retried = client.submit(again, path, retries=2, timeout=600)
    enough = steady.right + AT_ONCE
    steady.until(lambda: begun(path) and steady.right >= enough)
    asked = time.monotonic()
    doomed = client.submit(endless, timeout=LIMIT)
    ended = []
    doomed.add_done_callback(lambda _: ended.append(time.monotonic() - asked))
    print("under way", number, flush=True)
    enough = steady.right + AT_ONCE
    steady.until(
        lambda: os.path.exists(path)
        and all(future.done() for future in (long, retried, doomed))
        and steady.right >= enough
    )
    waiter.join(60)
    print("long", *waited)
    print("doomed", type(doomed.exception()).__name__, round(ended[0], 1))
    print("again", retried.result(), flush=True)


def main(client):
    client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=300)
    counts = {len(client.workers())}
    steady = Steady(client)
    for number in range(1, jumps + 1):
        around(client, steady, number)
        counts.add(len(client.workers()))
    client.gather([future for _, future in steady.pending])
    steady.collect()
    print("right", steady.right)
    print("wrong", steady.wrong)
    print("lost", steady.submitted - steady.right - steady.wrong)
    print("twice", sum(times > 1 for times in steady.came.values()))
    print("workers", *counts, flush=True)


with dtask.Client() as client:
    main(client)
sys.exit(code)

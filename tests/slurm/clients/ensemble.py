# SPDX-License-Identifier: Apache-2.0
"""The ensemble of tests/slurm/chaos: rounds of tasks whose outcome is known, until DIR/stop comes.

    ensemble.py DIR SEED

A round is a map of small calls, blocks of a MB that go from worker to worker through two more
layers of calls, functions that raise, that take all memory, and that kill their own process, and
one that is cancelled. DIR/hogs asks for three more hogs in the next round.

DIR/log tells all of it, a line each, times by the wall clock: `ready T`; `s KEY T` submitted;
`r KEY T right|lost TEXT` its outcome, as a callback hears it; `v KEY right|wrong|lost TEXT` what its
value is; `round N T`; `hang KEY`; `end T`.
"""

import os
import random
import signal
import sys
import threading
import time
import zlib
from concurrent.futures import CancelledError

import dtask

BLOCK = 1 << 20
PATIENCE = 100  # s for a round


def small(x, pause):
    time.sleep(pause)
    return x * x + 1


def block(x):
    return (x.to_bytes(4, "little") * (BLOCK // 4)) + bytes([x % 251])


def turned(data):
    return data[::-1]


def check(data, other):
    return zlib.crc32(data), zlib.crc32(other), len(data)


def raises(x):
    raise ValueError(f"on purpose {x}")


def hog(_):
    blocks = []
    while True:
        blocks.append(bytearray(b"x") * (4 << 20))


def dies(_):
    os.kill(os.getpid(), signal.SIGKILL)


class Log:
    def __init__(self, path):
        self._file = open(path, "a", buffering=1, encoding="utf-8")
        self._lock = threading.Lock()

    def say(self, *words):
        with self._lock:
            self._file.write(" ".join(str(word) for word in words) + "\n")


class Round:
    """The futures of a round, each with what is right for it: a value, or a class of exceptions."""

    def __init__(self, log, client, number):
        self._log, self._client, self._number = log, client, number
        self._expected = []

    def add(self, expected, function, *args):
        key = f"{self._number}.{len(self._expected)}"
        self._log.say("s", key, f"{time.time():.3f}")
        future = self._client.submit(function, *args)
        self._expected.append((key, future, expected))
        future.add_done_callback(lambda done: self._told(key, done, expected))
        return future

    def _told(self, key, future, expected):
        now = f"{time.time():.3f}"
        if future.cancelled():
            return self._log.say("r", key, now, "right" if expected is None else "lost cancelled")
        if isinstance(expected, type):
            error = future.exception()
            right = isinstance(error, expected)
            word = "right" if right else f"lost {type(error).__name__} {error}"
            return self._log.say("r", key, now, " ".join(word.split()))
        # A value that stays with a worker is not fetched here; finish() does.
        if future.status != "finished":
            error = future.exception()
            text = f"lost {type(error).__name__} {error}"
            return self._log.say("r", key, now, " ".join(text.split()))
        self._log.say("r", key, now, "right" if expected is not None else "right late")

    def finish(self):
        """Wait for all, and look at the values."""
        end = time.monotonic() + PATIENCE
        for key, future, expected in self._expected:
            if isinstance(expected, type):
                expected = None  # _told() has looked at that
            try:
                value = future.result(max(0.1, end - time.monotonic()))
            except dtask.TimeoutError:
                self._log.say("hang", key, f"{time.time():.3f}")
            except (CancelledError, Exception) as error:
                if expected is not None:
                    self._log.say("v", key, "lost", type(error).__name__, *str(error).split())
            else:
                if expected is not None and value != expected:
                    self._log.say("v", key, "wrong", repr(value)[:80])
                elif expected is not None:
                    self._log.say("v", key, "right")


def play(log, client, number, rng, hogs):
    now = Round(log, client, number)
    for x in range(60):
        now.add(x * x + 1, small, x, rng.random() * 0.03)
    blocks = [now.add(block(x), block, x) for x in range(number * 6 % 1000, number * 6 % 1000 + 6)]
    wanted = [block(x) for x in range(number * 6 % 1000, number * 6 % 1000 + 6)]
    turns = [now.add(data[::-1], turned, future) for data, future in zip(wanted, blocks)]
    for n, turn in enumerate(turns):
        other = (n + 1) % len(blocks)
        expected = check(turned(wanted[n]), wanted[other])
        now.add(expected, check, turn, blocks[other])
    for x in range(3):
        now.add(ValueError, raises, x)
    for x in range(hogs):
        now.add(dtask.MemoryLimitExceeded, hog, x)
    if number % 4 == 0:
        now.add(dtask.WorkerCrashed, dies, 0)
    now.add(None, small, 1, 0.2).cancel()
    now.finish()


def main(directory, seed):
    log, rng = Log(os.path.join(directory, "log")), random.Random(int(seed))
    client = dtask.Client()
    client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=100)
    log.say("ready", f"{time.time():.3f}", os.getpid())
    number = 0
    while not os.path.exists(os.path.join(directory, "stop")):
        hogs = 0
        if number % 5 == 0:
            hogs = 1
        if os.path.exists(os.path.join(directory, "hogs")):
            os.unlink(os.path.join(directory, "hogs"))
            hogs = 3
        number += 1
        play(log, client, number, rng, hogs)
        log.say("round", number, f"{time.time():.3f}")
    client.close()
    log.say("end", f"{time.time():.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])

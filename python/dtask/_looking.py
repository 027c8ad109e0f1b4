# SPDX-License-Identifier: Apache-2.0
"""Looking: whether who waits for a result looks again and again, or sleeps until it comes.

To wake a process whose CPU has gone idle costs as much as a short call does. Who looks keeps one CPU
awake, so that the processes that take turns with the call share the other ones, and needs no waking
himself: where CPUs are to spare that halves the time from submit to result. Where all are busy it takes
from those who work, and costs ten times as much; where calls are long it gains nothing. What pays is found
out by trying: waits come in rounds, in the first few of which the way that is not in use is tried. The
better one on average is used in the next round, which is twice as long if that is the same one.

Not thread-safe: who waits has the role of Direct.
"""

import os
from time import monotonic

LONGEST = 0.0002  # s of looking, after which he sleeps
TRIALS = 4  # waits of a round in which the other way is tried
FIRST_ROUND, LAST_ROUND = 8, 1024  # waits of a round
GAIN = 0.9  # of the time of those who sleep, at most: else looking is not worth its CPU time
COUNTED = 0.002  # s of a wait, at most: one that was long says little about the others

_give_way = getattr(os, "sched_yield", lambda: None)


class Looking:
    def __init__(self):
        self.pays = False
        self._round = FIRST_ROUND
        self._waits = 0
        self._sums = [0.0, 0.0]  # s, of those who slept and who looked

    def begins(self):
        """Whether the wait that begins is to look."""
        return self.pays != (self._waits < TRIALS)

    def took(self, looked, seconds):
        """A wait with its result has taken so long."""
        self._sums[looked] += min(seconds, COUNTED)
        self._waits += 1
        if self._waits < self._round:
            return
        tried, used = TRIALS, self._round - TRIALS
        slept = self._sums[False] / (tried if self.pays else used)
        looked = self._sums[True] / (used if self.pays else tried)
        pays = looked < slept * GAIN
        self._round = min(self._round * 2, LAST_ROUND) if pays == self.pays else FIRST_ROUND
        self.pays = pays
        self._waits = 0
        self._sums = [0.0, 0.0]


def look(poll):
    """Look until poll(0) says that something is there, or for LONGEST; whether it is."""
    end = monotonic() + LONGEST
    while not poll(0):
        if monotonic() > end:
            return False
        _give_way()  # to those of the call's processes that are on this CPU
    return True

# SPDX-License-Identifier: Apache-2.0
"""Direct: who waits for one result reads it from the socket himself.

Where a script calls, waits, and calls again, the receiver thread stands between the socket and the one
who waits: it is woken, settles the future, and wakes him. To read is a role that one thread has at a time:

    the receiver reads ──nothing is outstanding, and who came last has waited──▶ lent
       ▲                                                                        │  ▲
       ├──────────────────────── TERM without a borrower ◀──────────────────────┤  │ has his result
       └──── anything but lone results ◀──── a waiter reads ◀────────────────────┘──┘

While it is lent the receiver still writes what is queued, and hears of wake(). Results that nobody reads
meanwhile come a TERM late.

The waiter may be the main thread, in which a signal handler can raise between any two instructions.
So he looks at what has come (MSG_PEEK), acts, and takes it from the socket last: if he does not get so
far the receiver finds the same frame, and does what is left to do. Where he is thrown out right after he
took the role, before he could give it back, the receiver finds that no thread is in here, and makes a new one.
"""

import select
import socket
import sys
import threading
from concurrent.futures._base import PENDING
from time import monotonic

from ._looking import Looking, look

TERM = 0.001  # s without a use after which the receiver reads again
_LONGEST = 0.1  # s between its looks while a waiter reads
_MOST = 16 << 10  # bytes of frames that a waiter deals with


class Direct:
    """Of one connection. `settle` is given what was peeked, and returns whether it has dealt with all
    of it; `wake` makes the receiver look."""

    def __init__(self, sock, settle, wake):
        self.lent = False
        self._sock = sock
        self._settle = settle
        self._wake = wake
        self._role = threading.Lock()
        self._looking = Looking()
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)
        self._asked = self._recalled = False
        self._uses = self._seen = 0
        self._pause = self._due = 0.0  # s, and by monotonic()

    # In the receiver thread.

    def begin(self):
        """The receiver reads from now on."""
        self._role.acquire()

    def end(self):
        """Nobody reads any more; the socket is shut down."""
        if self.lent:
            self._role.acquire(timeout=1.0)  # who reads is leaving
            self.lent = False

    def pause(self, interval):
        """How long the receiver may wait; `interval` is the time until it has something else to do.
        Both in seconds, or None."""
        if not self.lent:
            return interval
        left = max(self._due - monotonic(), 0.0)
        return left if interval is None else min(left, interval)

    def reads(self, idle):
        """Whether the receiver is to read now; to be asked after each of its turns. `idle`: it has
        no part of a frame, and nothing is outstanding."""
        if not self.lent:
            if not (idle and self._asked):
                return True
            self._asked = self._recalled = False
            self._seen, self._pause, self._due = self._uses, TERM, monotonic() + TERM
            self.lent = True
            self._role.release()
            return False
        now = monotonic()
        if self._recalled or (now >= self._due and self._uses == self._seen):
            if not self._role.acquire(False):
                if self._anybody_reads():
                    self._pause = min(self._pause * 2, _LONGEST)
                    self._due = now + self._pause
                    return False
                self._role = threading.Lock()
                self._role.acquire()
            self.lent = False
            return True
        if now >= self._due:
            self._seen, self._pause, self._due = self._uses, TERM, now + TERM
        return False

    def _anybody_reads(self):
        for frame in sys._current_frames().values():
            while frame is not None:
                if frame.f_code is _READ_FOR and frame.f_locals.get("self") is self:
                    return True
                frame = frame.f_back
        return False

    # In any other.

    def read_for(self, future, end):
        """Read until the future has ended, if the role is to be had: to be followed by another wait.
        `end` is monotonic() at which the caller's patience ends, or None."""
        if not self.lent:
            self._asked = True
            return
        role, began = self._role, 0.0
        if not role.acquire(False):
            return
        try:
            began = monotonic()
            self._uses += 1
            poll = self._poll.poll
            looks = self._looking.begins()
            while future._state is PENDING:
                if not (looks and look(poll)):
                    left = None if end is None else max(end - monotonic(), 0.0) * 1000
                    if not poll(left):
                        return
                if not self._take():
                    self._recalled = True
                    return
            self._looking.took(looks, monotonic() - began)
        finally:
            role.release()
            if self._recalled or monotonic() - began > TERM:
                self._wake()

    def _take(self):
        try:
            data = self._sock.recv(_MOST, socket.MSG_PEEK)
            if not data or not self._settle(data):
                return False
            self._sock.recv(len(data))
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            return False  # the receiver will see it, and says so
        return True


_READ_FOR = Direct.read_for.__code__

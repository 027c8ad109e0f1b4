# SPDX-License-Identifier: Apache-2.0
"""Session: what a client and the scheduler have to say to each other (doc/protocol.md, section 3).

It owns the connection and with it the receiver thread, the table of pending futures, which a future
leaves when it is settled, the functions that the scheduler knows, and what brings values that stay
on workers. Any thread may call it. After a fork the child's copy is dead: whatever would use the
connection raises ClusterLost.
"""

import atexit
import os
import threading
import weakref
from collections import deque
from concurrent.futures import Future as _PlainFuture

from . import _failures, _pickling, _wire
from ._connection import Connection, connect
from ._fetch import Fetcher
from ._functions import Functions
from ._outbox import Outbox
from ._progress import Progress
from ._remote import Remotes
from .errors import ClusterLost, ConnectError

CLOSED = "the client is closed"
_OUTCOMES = ("done", "stored", "failed")


class Session:
    """A connection that has been welcomed. Raises ConnectError.

    workers, expected  workers that are connected, and that the step should have
    count              condition under which these change
    settling           the lock of the futures' states
    lost               why the session has ended, or None
    outbox             sends tasks
    remotes, fetcher   values that stay on workers: where they are, and how they come
    """

    def __init__(self, locate, timeout):
        self.forked = False
        self.lost = None
        self.count = threading.Condition()
        self.workers = self.expected = 0
        self.welcome = None
        self.settling = threading.RLock()  # under which futures change their state
        self.progress = Progress()
        self._pending = {}  # number -> Future that the scheduler knows
        self._functions = Functions(self)
        self.outbox = Outbox(self, self._pending)
        self.remotes = Remotes(self)
        self._infos = deque()  # futures of info requests, in order
        self._bye = None
        self._closing = False  # once nothing is left to do

        sock, where, token = connect(locate, timeout)
        self.fetcher = Fetcher(token)
        self.connection = Connection(
            sock,
            where,
            self._on_frame,
            self._on_lost,
            self._on_wake,
            self.progress,
            self._settle_peeked,
            lambda: not self._pending,  # is_idle would look at every value that is away
        )
        _sessions.add(self)
        self.connection.start()
        with self.count:
            self.count.wait_for(lambda: self.welcome or self.lost, timeout)
        if self.welcome is None:
            reason = self.lost or f"no welcome from {self.connection.address} in {timeout:g} s"
            self.close()
            raise ConnectError(reason)

    def close(self):
        """Disconnect. What has not ended is cancelled. May be called again."""
        if not self.forked:
            self.connection.close(CLOSED)
            self.fetcher.close()
            self.progress(last=True)

    def close_soon(self):
        """Close it once no task is pending and no value has yet to come from a worker. Takes no
        lock, so that it may be called from anywhere."""
        self._closing = True
        if not self.forked:
            self.connection.wake()

    @property
    def closing(self):
        """Whether close_soon was called."""
        return self._closing

    def is_idle(self):
        """Whether no task is pending and no value has yet to come from a worker."""
        return not self._pending and not self.remotes.any_away()

    def check(self, task=None):
        """Raise where waiting would be for ever: after a fork, or in a done callback."""
        if self.forked:
            raise ClusterLost(
                "this process was forked from the client's and cannot use its connection: "
                "make a dtask.Client here",
                task=task,
            )
        if self.connection.in_receiver():
            raise RuntimeError("a done callback would wait for itself here")

    # Sending.

    def function(self, function):
        """Make a function known to the scheduler: (number, name)."""
        if self.forked:
            self.check()
        name = _pickling.name_of(function)
        return self._functions.number(function, name), name

    def upload(self, name, archive):
        """Let what is sent from now on find the modules of an archive."""
        self.check()
        self._functions.upload(name, archive)

    def cancel(self, futures):
        """Cancel futures of this session; returns how many had not ended."""
        count, numbers = 0, []
        for future in futures:
            if future._cancel():
                count += 1
                if self._pending.pop(future._number, None) is not None:
                    numbers.append(future._number)
        if numbers and not self.forked:
            self._send_cancel(numbers)
        return count

    def cancel_late(self, future):
        """Take back a task that was sent although its future was cancelled before."""
        if self._pending.pop(future._number, None) is not None:
            self._send_cancel([future._number])

    def _send_cancel(self, numbers):
        try:
            self.connection.send(lambda: [_wire.frame({"t": "cancel", "k": numbers})])
        except ClusterLost:
            pass

    def ask(self):
        """Request the scheduler's info; returns a plain future of the answer."""
        self.check()
        answer = _PlainFuture()

        def make():
            self._infos.append(answer)  # answers come in the order of the requests
            return [_wire.frame('{"t":"info"}')]

        self.connection.send(make)
        return answer

    # Receiving: in the receiver thread.

    def _on_wake(self):
        self.remotes.flush()
        if self._closing and self.is_idle():
            self.close()

    def _on_frame(self, header, payload):
        kind = header["t"]
        if kind in _OUTCOMES:
            self.outbox.gather()
            try:
                if kind == "done":
                    self._on_done(header, payload)
                elif kind == "stored":
                    self.remotes.on_stored(header, self._pending)
                else:
                    future = self._pending.pop(header["k"], None)
                    if future is None:
                        self.remotes.on_failed(header, bytes(payload))
                    else:
                        _failures.settle(future, header, bytes(payload))
            finally:
                self.outbox.flush()
        elif kind == "workers":
            with self.count:
                self.workers, self.expected = header["n"], header["expected"]
                self.count.notify_all()
        elif kind == "welcome":
            with self.count:
                self.welcome = header
                self.workers, self.expected = header["workers"], header["expected"]
                self.count.notify_all()
        elif kind == "info":
            answer = self._infos.popleft() if self._infos else None
            if answer is not None and isinstance(header["workers"], list):
                answer.set_result(header)
        elif kind == "bye":
            self._bye = str(header.get("why", ""))

    def _settle_peeked(self, data):
        """Settle the futures of frames that a waiter has looked at, in his thread; see _direct. False
        where there is anything but whole results of futures that nobody has hung something on."""
        view = memoryview(data)
        start, end = 0, len(data)
        while start < end:
            if end - start < 8:
                return False
            header_length, length = _wire.parse_lengths(view, start)
            body = start + 8 + header_length
            start = body + length
            if start > end:
                return False
            header = _wire.parse_header(view[body - header_length : body])
            if header["t"] != "done" or len(header["k"]) != 1:
                return False
            number = header["k"][0]
            future = self._pending.get(number)
            if future is None or (future._watched and future._done_callbacks):
                return False
            future._finish(data[body:start])
            self._pending.pop(number, None)
        return True

    def _on_done(self, header, payload):
        numbers, lengths = header["k"], header["len"]
        if len(numbers) != len(lengths) or sum(lengths) != len(payload):
            raise ValueError("columns of different lengths")
        take = self._pending.pop
        start = 0
        for number, length in zip(numbers, lengths):
            future = take(number, None)
            end = start + length
            if future is not None:
                future._finish(bytes(payload[start:end]))
            else:
                self.remotes.on_done(number, bytes(payload[start:end]))
            start = end

    def _on_lost(self, reason):
        if self._bye is not None and reason.startswith("the scheduler closed"):
            reason = "the cluster has ended" + (f": {self._bye}" if self._bye else "")
        closed = reason == CLOSED
        if not closed:
            reason = f"{reason} (scheduler at {self.connection.address})"
        with self.count:
            self.lost = reason
            self.count.notify_all()
        while self._infos:
            self._infos.popleft().set_exception(ClusterLost(reason))
        while self._pending:
            try:
                _, future = self._pending.popitem()
            except KeyError:
                break
            if closed:
                future._cancel()
            else:
                future._fail(ClusterLost(f"{future.key}: {reason}", task=future.key))
        self.remotes.on_lost(reason)
        self.progress(last=True)


_sessions = weakref.WeakSet()


def _close_all():
    for session in list(_sessions):
        session.close()


def _renew(session):
    """A thread that is not here may have held the lock."""
    try:
        session.settling._at_fork_reinit()
    except AttributeError:  # before Python 3.9
        session.settling = threading.RLock()


def _after_fork():
    for session in list(_sessions):
        session.forked = True
        _renew(session)
        session.connection.abandon()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)

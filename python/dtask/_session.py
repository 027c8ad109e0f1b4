# SPDX-License-Identifier: Apache-2.0
"""Session: what a client and the scheduler have to say to each other (doc/protocol.md, section 3).

It owns the connection and with it the receiver thread, the table of pending futures, which a future
leaves when it is settled, and the functions that the scheduler knows. Any thread may call it. After
a fork the child's copy is dead: whatever would use the connection raises ClusterLost.
"""

import atexit
import itertools
import os
import threading
import weakref
from collections import deque
from concurrent.futures import Future as _PlainFuture
from concurrent.futures._base import PENDING

from . import _failures, _pickling, _wire
from ._connection import Connection, connect
from ._progress import Progress
from .errors import ClusterLost, ConnectError

MAX_TASKS = 512  # tasks of one submit message
MAX_BATCH = 1 << 20  # bytes of one submit message, but for a task that is larger alone
SEPARATE = 64 << 10  # bytes above which arguments are not copied into one buffer
CLOSED = "the client is closed"


class Session:
    """A connection that has been welcomed. Raises ConnectError.

    workers, expected  workers that are connected, and that the step should have
    count              condition under which these change
    lost               why the session has ended, or None
    """

    def __init__(self, locate, timeout):
        self.forked = False
        self.lost = None
        self.count = threading.Condition()
        self.workers = self.expected = 0
        self.welcome = None
        self.serials = itertools.count(1)  # of futures, for their keys
        self.progress = Progress()
        self._pending = {}  # number -> Future that the scheduler knows
        self._functions = {}  # pickle, or its digest, -> number
        self._by_name = {}  # id -> (function, number), for functions that go by name
        self._last_task = self._last_function = 0
        self._numbering = threading.Lock()
        self._released = None  # tasks that a frame sets free: function etc. -> futures, bodies
        self._infos = deque()  # futures of info requests, in order
        self._bye = None

        sock, where = connect(locate, timeout)
        self.connection = Connection(sock, where, self._on_frame, self._on_lost, self.progress)
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
            self.progress(last=True)

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
        known = self._by_name.get(id(function))
        return (known[1] if known else self._add_function(function, name)), name

    def _add_function(self, function, name):
        data, by_name = _pickling.dump_function(function, name)
        body = _pickling.wrap_function(data)
        known = _pickling.digest(data)

        def make():
            if known in self._functions:
                return []
            self._last_function += 1
            self._functions[known] = self._last_function
            header = {"t": "function", "f": self._last_function, "name": name}
            return [_wire.frame(header, len(body)), body]

        self.connection.send(make)
        number = self._functions[known]
        if by_name:
            self._by_name[id(function)] = (function, number)
        return number

    def send_tasks(self, what, futures, bodies):
        """Send tasks alike in `what` (function's number, retries, priority), with their arguments.

        In the receiver thread they are gathered until the frame has been dealt with.
        """
        if self._released is not None and self.connection.in_receiver():
            entry = self._released.setdefault(what, ([], []))
            entry[0].extend(futures)
            entry[1].extend(bodies)
            return
        size = sum(map(len, bodies))
        lengths = ",".join([str(len(body)) for body in bodies])

        def make():
            first = self.reserve(len(futures))
            numbers = range(first, first + len(futures))
            for number, future in zip(numbers, futures):
                future._number = number
            self._pending.update(zip(numbers, futures))
            head = _wire.frame(
                '{"t":"submit","f":%d,"retries":%d,"priority":%d,"k":[%s],"len":[%s]}'
                % (*what, ",".join(map(str, numbers)), lengths),
                size,
            )
            return [head, *bodies] if size > SEPARATE else [b"".join((head, *bodies))]

        self.connection.send(make)
        for future in futures:
            if future._state != PENDING:  # cancelled before it had a number
                self._cancel_late(future)

    def reserve(self, count):
        """The first of `count` numbers of tasks that nobody else gets."""
        with self._numbering:
            first = self._last_task + 1
            self._last_task += count
        return first

    def send_graph(self, futures, parts):
        """Send a part of a graph (bytes); `futures`, numbered, are those whose outcome comes back."""

        def make():
            self._pending.update((future._number, future) for future in futures)
            size = sum(map(len, parts))
            return parts if size > SEPARATE else [b"".join(parts)]

        self.connection.send(make)

    def _flush_released(self):
        """Send what the inputs that a frame brought have set free."""
        released, self._released = self._released, None
        for what, (futures, bodies) in released.items():
            start = 0
            while start < len(futures):
                end, size = start, 0
                while end < len(futures) and end - start < MAX_TASKS:
                    size += len(bodies[end])
                    if end > start and size > MAX_BATCH:
                        break
                    end += 1
                try:
                    self.send_tasks(what, futures[start:end], bodies[start:end])
                except ClusterLost as error:
                    for future in futures[start:end]:
                        future._fail(error)
                start = end

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

    def _cancel_late(self, future):
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

    def _on_frame(self, header, payload):
        kind = header["t"]
        if kind == "done" or kind == "failed":
            self._released = {}
            try:
                if kind == "done":
                    self._on_done(header, payload)
                else:
                    future = self._pending.pop(header["k"], None)
                    if future is not None:
                        _failures.settle(future, header, bytes(payload))
            finally:
                self._flush_released()
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
        self.progress(last=True)


_sessions = weakref.WeakSet()


def _close_all():
    for session in list(_sessions):
        session.close()


def _after_fork():
    for session in list(_sessions):
        session.forked = True
        session.connection.abandon()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)

# SPDX-License-Identifier: Apache-2.0
"""Outbox: tasks on their way to the scheduler. It numbers them and enters their futures among the
session's pending ones.

Tasks that the receiver thread sends, since the inputs that a frame brought have set them free, are
gathered until the frame has been dealt with. Any thread may call it.
"""

import threading
from concurrent.futures._base import FINISHED, PENDING

from . import _wire
from .errors import ClusterLost

MAX_TASKS = 512  # tasks of one submit message
MAX_BATCH = 1 << 20  # bytes of one submit message, but for a task that is larger alone
SEPARATE = 64 << 10  # bytes above which arguments are not copied into one buffer


class Outbox:
    """Of one session, which owns it; `pending` is its table."""

    def __init__(self, session, pending):
        self._session = session
        self._pending = pending
        self._last = 0
        self._numbering = threading.Lock()
        self._gathered = None  # kind of tasks -> futures, bodies, inputs; None: nothing is gathered

    def reserve(self, count):
        """The first of `count` numbers of tasks that nobody else gets."""
        with self._numbering:
            first = self._last + 1
            self._last += count
        return first

    def number_of(self, future):
        """The number of a future, which gets one here if it was not sent yet."""
        with self._numbering:
            if future._number is None:
                self._last += 1
                future._number = self._last
        return future._number

    def _number_all(self, futures):
        with self._numbering:
            last = self._last
            for future in futures:
                if future._number is None:
                    last += 1
                    future._number = last
            self._last = last
        return [future._number for future in futures]

    def send_tasks(self, what, futures, bodies, inputs=None):
        """Send tasks alike in `what` (function's number, terms; see _terms), with their arguments.

        inputs  for each task a tuple of futures whose values stay on workers, the inputs 0, 1, …
                of its arguments; they are kept until the task is sent
        """
        connection = self._session.connection
        if self._gathered is not None and connection.in_receiver():
            entry = self._gathered.setdefault((what, inputs is None), ([], [], []))
            entry[0].extend(futures)
            entry[1].extend(bodies)
            entry[2].extend(inputs or ())
            return
        size = sum(map(len, bodies))
        lengths = ",".join([str(len(body)) for body in bodies])

        def make():
            numbers = self._number_all(futures)
            self._pending.update(zip(numbers, futures))
            if inputs is None:
                text = _submit(what, numbers, lengths)
            else:
                text = _graph(what, numbers, lengths, inputs)
            head = _wire.frame(text, size)
            return [head, *bodies] if size > SEPARATE else [b"".join((head, *bodies))]

        connection.send(make)
        for future in futures:
            if future._state is not PENDING and future._state is not FINISHED:
                # It was cancelled before it had a number.
                self._session.cancel_late(future)

    def send_graph(self, futures, parts):
        """Send a part of a graph (bytes); `futures`, numbered, are those whose outcome comes."""

        def make():
            self._pending.update((future._number, future) for future in futures)
            size = sum(map(len, parts))
            return parts if size > SEPARATE else [b"".join(parts)]

        self._session.connection.send(make)

    def gather(self):
        """A frame is about to be dealt with: in the receiver thread, which calls flush after it."""
        self._gathered = {}

    def flush(self):
        """Send what was gathered."""
        gathered, self._gathered = self._gathered, None
        for (what, _), (futures, bodies, inputs) in gathered.items():
            start = 0
            while start < len(futures):
                end, size = start, 0
                while end < len(futures) and end - start < MAX_TASKS:
                    size += len(bodies[end])
                    if end > start and size > MAX_BATCH:
                        break
                    end += 1
                try:
                    self.send_tasks(
                        what, futures[start:end], bodies[start:end], inputs[start:end] or None
                    )
                except ClusterLost as error:
                    for future in futures[start:end]:
                        future._fail(error)
                start = end


def _submit(what, numbers, lengths):
    return '{"t":"submit","f":%d,%s,"k":[%s],"len":[%s]}' % (
        *what,
        ",".join(map(str, numbers)),
        lengths,
    )


def _graph(what, numbers, lengths, inputs):
    """Tasks with inputs make a graph, though nothing in it depends on another of it."""
    function, terms = what
    count = len(numbers)
    places = [str(future._remote.number) for one in inputs for future in one]
    return (
        '{"t":"graph","g":%d,"complete":1,%s,"f":[%s],"k":[%s],'
        '"inputs":[%s],"in":[%s],"want":[%s],"len":[%s]}'
        % (
            numbers[0],
            terms,
            ",".join([str(function)] * count),
            ",".join(map(str, numbers)),
            ",".join([str(len(one)) for one in inputs]),
            ",".join(places),
            ",".join("1" * count),
            lengths,
        )
    )

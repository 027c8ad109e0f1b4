# SPDX-License-Identifier: Apache-2.0
"""Values that stay on workers: where they are, how they come here, and when they are released.

A future whose value was told by `stored` has finished, and owns a Remote. The value comes when it
is asked for, in the thread that asks. Where it cannot be had, the scheduler is told (`lost`), which
answers with another place or a failure. The Remote dies with the future, and with the tasks of
which it is an input and that have yet to be sent: then the value is released.

A Remote's `place` and `busy` change under the future's condition.
"""

import weakref
from collections import deque
from time import monotonic

from . import _failures, _store, _wire
from ._fetch import Gone
from .errors import ClusterLost, ConnectError, PickleError, ProtocolError, TimeoutError

_RELEASE = 10_000  # tasks of one release message
_LONGEST = 1.0  # s between two tries at the same place


class Remote:
    """The value of a task.

    place  (the value's number, (host, port), the address as the scheduler wrote it), or None until
           the scheduler says where it is
    size   bytes
    busy   whether a thread is about to fetch it
    """

    def __init__(self, owner, number, place, size):
        self._owner = owner
        self.number = number
        self.place = place
        self.size = size
        self.busy = False

    def __del__(self):
        # Anywhere, at any time, whatever locks are held: none may be taken here.
        try:
            self._owner.release(self.number)
        except Exception:
            pass  # Python is about to exit


class Remotes:
    """The futures of a session whose values stay on workers. It owns none of them."""

    def __init__(self, session):
        self._session = session
        self._futures = weakref.WeakValueDictionary()  # by number
        self._released = deque()  # numbers

    # In the receiver thread.

    def on_stored(self, header, pending):
        """A `stored` message; `pending` is the table of futures that have not ended."""
        number, at = header["k"], header["at"]
        try:
            place = header["d"], _wire.parse_address(at, "the place of a value"), at
            size = int(header["size"])
        except ConnectError as error:
            raise ProtocolError(str(error)) from None
        future = pending.pop(number, None)
        if future is not None:
            self._futures[number] = future
            future._finish(None, Remote(self, number, place, size))
            if future._note is not None:
                future._note.away(future)
            return
        future = self._futures.get(number)
        if future is None:
            self._released.append(number)  # it was cancelled, or is released already
            self.flush()
            return
        with future._condition:
            future._remote.place = place
            future._condition.notify_all()

    def on_done(self, number, pickled):
        """A result of what is not pending: a value that was lost and has been made again, small."""
        future = self._futures.get(number)
        if future is not None:
            future._come(pickled)

    def on_failed(self, header, payload):
        """A `failed` message about what is not pending: a value that is lost for good."""
        future = self._futures.get(header["k"])
        if future is not None:
            _failures.settle(future, header, payload)

    def on_lost(self, reason):
        """The session has ended: nobody will say where the values are that are looked for."""
        for future in list(self._futures.values()):
            if future._away and future._remote.place is None:
                future._fail(ClusterLost(f"{future.key}: {reason}", task=future.key))

    def flush(self):
        """Send what was released."""
        released = self._released

        def make():
            count = min(len(released), _RELEASE)
            return [_wire.frame({"t": "release", "k": [released.popleft() for _ in range(count)]})]

        while released and not self._session.forked:
            try:
                self._session.connection.send(make)
            except ClusterLost:
                released.clear()

    # In any thread.

    def any_away(self):
        """Whether a value has yet to come from its worker that somebody may ask for."""
        return any(future._away for future in list(self._futures.values()))

    def release(self, number):
        """The value of that task is needed no more. Takes no lock."""
        session = self._session
        if session.lost is None and not session.forked:
            self._released.append(number)
            session.connection.wake()

    def tell_lost(self, number, at):
        """Tell the scheduler that a value could not be had there."""
        self._session.connection.send(
            lambda: [_wire.frame({"t": "lost", "k": number, "at": at})]
        )


def bring_all(futures):
    """Fetch the values of those futures whose values are away, as far as they can be had at once:
    what happened to the others `bring` finds out."""
    mine = []
    try:
        for future in futures:
            if not future._away:
                continue
            with future._session.settling:
                remote = future._remote
                if future._away and remote.place is not None and not remote.busy:
                    remote.busy = True
                    mine.append(future)
        sessions = {}
        for future in mine if len(mine) > 1 else ():
            sessions.setdefault(future._session, []).append(future)
        for session, some in sessions.items():
            if session.lost is None and not session.forked:
                _bring_some(session, some)
    finally:
        for future in mine:
            with future._condition:
                future._remote.busy = False
                future._condition.notify_all()


def _bring_some(session, futures):
    remotes = [future._remote for future in futures]
    wanted = [(*remote.place[:2], remote.size) for remote in remotes]
    came = []
    session.fetcher.fetch_all(wanted, lambda index, data: came.append((futures[index], data)))
    while came:
        _keep(*came.pop())  # unpickled in the thread that asked


def bring(future, timeout, end):
    """Fetch the value of a future whose value is away, or let it fail.

    `end` is the monotonic time at which the `timeout` that the caller was given ends, or None.
    """
    remote, condition = future._remote, future._condition
    with condition:
        while future._away and remote.busy:
            _wait(future, timeout, end)
        if not future._away:
            return
        remote.busy = True
    try:
        _bring(future, remote, timeout, end)
    finally:
        with condition:
            remote.busy = False
            condition.notify_all()
        if future._session.closing:
            future._session.close_soon()  # this may have been the last


def _bring(future, remote, timeout, end):
    session, condition = future._session, future._condition
    pause, before = 0.0, None
    while True:
        with condition:
            while future._away and remote.place is None:
                _wait(future, timeout, end)
            if not future._away:
                return
            place = remote.place
        if session.lost is not None:
            future._fail(ClusterLost(f"{future.key}: {session.lost}", task=future.key))
            return
        if place == before:  # said to be there after all
            pause = min(pause * 2 or 0.05, _LONGEST)
            with condition:
                condition.wait(pause)
        before = place
        try:
            data = session.fetcher.fetch(place[0], place[1], end)
        except (OSError, Gone, ProtocolError):
            if end is not None and monotonic() >= end:
                raise _late(future, timeout) from None
            _report(future, remote, place)
            continue
        _keep(future, data)
        return


def _report(future, remote, place):
    """Tell that the value was not at that place, unless another one is known by now."""
    with future._condition:
        if remote.place is not place:
            return
        remote.place = None
        future._condition.notify_all()
    try:
        future._session.remotes.tell_lost(remote.number, place[2])
    except ClusterLost as error:
        future._fail(ClusterLost(f"{future.key}: {error}", task=future.key))


def _keep(future, data):
    value = error = None
    try:
        value = _store.loads(data)
    except Exception as cause:
        error = PickleError(
            f"the result of {future.key} cannot be unpickled: {cause!r}", task=future.key
        )
        error.__cause__ = cause
    if error is not None:
        future._fail(error)
        return
    if future._note is not None and future._away:
        future._note.value(value, future.key)
    with future._condition:
        if future._away:
            future._result = value
            future._away = False
            future._condition.notify_all()


def _wait(future, timeout, end):
    """Wait for a change, under the future's condition."""
    if future._remote.place is None:
        future._session.check(future.key)
    left = None if end is None else end - monotonic()
    if left is not None and left <= 0:
        raise _late(future, timeout)
    future._condition.wait(left)


def _late(future, timeout):
    return TimeoutError(f"the value of {future.key} has not come within {timeout} s")

# SPDX-License-Identifier: Apache-2.0
"""Held: a task whose arguments contain futures, until they have results.

Its arguments are pickled already; when the last input has ended, the pickles of those inputs that
are here are joined to them, those whose values stay on workers become inputs of the task, and the
task is sent. Once an input fails the task fails alike, without being sent.
"""

import threading
from collections import deque

from . import _inputs, _wire
from ._pickling import size_text
from .errors import DtaskError, TooLarge


class _Turn(threading.local):
    """Those whose last input has ended in this thread, while it is busy with another."""

    queue = None


_turn = _Turn()


class Held:
    """Owned by the callbacks that wait in its inputs."""

    def __init__(self, session, future, what, data, inputs):
        self._session = session
        self._future = future
        self._what = what  # function's number, terms
        self._data = data
        self._inputs = inputs  # one a place in the arguments, in their order
        unique = set(inputs)
        self._left = len(unique)  # 0 too once one has failed: the others do not matter then
        self._lock = threading.Lock()
        for one in unique:
            one.add_done_callback(self._input_ended)

    def _input_ended(self, one):
        with self._lock:
            if self._left == 0:
                return
            self._left = 0 if one._failed or one.cancelled() else self._left - 1
            if self._left:
                return
        # One failure can settle a long chain: in a loop, the stack would not hold it.
        if _turn.queue is not None:
            _turn.queue.append(self)
            return
        _turn.queue = queue = deque([self])
        try:
            while queue:
                queue.popleft()._settle()
        finally:
            _turn.queue = None

    def _settle(self):
        """Send the task, or let it end as its inputs have ended."""
        future, inputs = self._future, self._inputs
        self._future = self._inputs = None  # their callbacks hold us: no cycle
        if future.done():
            return  # cancelled meanwhile
        try:
            for one in inputs:
                if one.cancelled():
                    future._cancel()
                    return
                if one._failed:
                    with one._session.settling:
                        exception, raw = one._exception, one._raw_error
                    future._fail(exception, raw)
                    return
            away, places = {}, []
            for one in inputs:
                if one._remote is not None and one._session is self._session:
                    places.append(away.setdefault(one, len(away)))
                else:
                    places.append(one._pickled())
            data = (_inputs.wrap_mixed if away else _inputs.wrap)(self._data, places)
            if len(data) > _wire.MAX_VALUE:
                raise TooLarge(
                    f"the arguments of {future.key}: {size_text(len(data))} pickled with their "
                    "inputs, at most 64 MiB are possible",
                    task=future.key,
                )
            remote = [tuple(away)] if away else None
            self._session.outbox.send_tasks(self._what, [future], [data], remote)
        except DtaskError as error:
            future._fail(error)
        except Exception as error:
            future._fail(DtaskError(f"{future.key} could not be sent: {error!r}", task=future.key))

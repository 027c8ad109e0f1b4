# SPDX-License-Identifier: Apache-2.0
"""Waiting for many futures: wait, as_completed, and what gather stands on.

A waiter enters itself in each future's list (the base class's own mechanism) and hears of its end
under that future's condition.
"""

import threading
from collections import deque
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, DoneAndNotDoneFutures
from time import monotonic

from . import _nesting
from ._future import Future
from .errors import TimeoutError

_ENDED = (FINISHED, CANCELLED_AND_NOTIFIED)


def flatten(futures):
    """The futures in a future, or in nested lists, tuples, sets, dicts and iterators of them."""
    found = []
    stack = [futures]
    while stack:
        item = stack.pop()
        if isinstance(item, Future):
            found.append(item)
        elif isinstance(item, dict):
            stack.extend(reversed(list(item.values())))
        elif isinstance(item, (str, bytes)) or not hasattr(item, "__iter__"):
            raise TypeError(f"expected futures, got {type(item).__name__}: {item!r:.60}")
        else:
            stack.extend(reversed(list(item)))
    return found


class Latch:
    """Opens when all of some futures have ended, or the first has failed."""

    def __init__(self, futures, first_failure=False, first=False):
        self._futures = futures
        self._first_failure = first_failure
        self._first = first
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._left = 1
        for future in futures:
            with future._session.settling:
                if future._state in _ENDED:
                    if first or (first_failure and _failed(future)):
                        self._open.set()
                else:
                    with self._lock:
                        self._left += 1
                    future._waiters.append(self)
        self.add_result(None)

    def add_result(self, future):
        with self._lock:
            self._left -= 1
            if self._left and not (self._first and future is not None):
                return
        self._open.set()

    def add_exception(self, future):
        if self._first_failure:
            self._open.set()
        self.add_result(future)

    add_cancelled = add_exception

    def wait(self, timeout=None):
        """True once open, False after `timeout` seconds. To be called once."""
        try:
            return _nesting.wait(self._open.wait, timeout)
        finally:
            for future in self._futures:
                if future._watched and self in future._waiters:
                    with future._session.settling:
                        if self in future._waiters:
                            future._waiters.remove(self)


def _failed(future):
    return future._failed or future._state == CANCELLED_AND_NOTIFIED


def check_wait(futures):
    """Raise where waiting would be for ever: after a fork, or in a done callback."""
    for future in futures:
        if future._state not in _ENDED:
            future._session.check(future.key)


def wait(futures, timeout=None, return_when=ALL_COMPLETED):
    """Wait until all futures have ended (or by `return_when` the first, or the first failure).

    Returns a pair (done, not_done) of sets. Raises TimeoutError after `timeout` seconds, as
    dask.distributed does; concurrent.futures.wait, which returns instead, works as well.
    """
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise ValueError(
            f"return_when={return_when!r}: expected ALL_COMPLETED, FIRST_COMPLETED "
            "or FIRST_EXCEPTION"
        )
    futures = list(dict.fromkeys(flatten(futures)))
    check_wait(futures)
    latch = Latch(futures, return_when == FIRST_EXCEPTION, return_when == FIRST_COMPLETED)
    ended = latch.wait(timeout)
    done = {future for future in futures if future._state in _ENDED}
    if not ended:
        raise TimeoutError(
            f"{len(futures) - len(done)} of {len(futures)} tasks have not ended within {timeout} s"
        )
    return DoneAndNotDoneFutures(done, set(futures) - done)


class as_completed:
    """Iterate over futures in the order in which they end; add() may add more meanwhile.

    with_results  yield pairs (future, result) and raise the first failure
    raise_errors  with with_results: False yields the exception as the result instead
    timeout       seconds in all, after which TimeoutError is raised
    """

    def __init__(self, futures=(), with_results=False, raise_errors=True, timeout=None):
        self._with_results = with_results
        self._raise_errors = raise_errors
        self._timeout = timeout
        self._end = None if timeout is None else monotonic() + timeout
        self._ready = deque()
        self._waiting = set()
        self._changed = threading.Condition()
        self.update(futures)

    def add(self, future):
        """Wait for this future as well."""
        self.update([future])

    def update(self, futures):
        """Wait for these futures as well."""
        futures = list(dict.fromkeys(flatten(futures)))
        check_wait(futures)
        for future in futures:
            with self._changed:
                if future in self._waiting:
                    continue
                self._waiting.add(future)
            with future._session.settling:
                if future._state not in _ENDED:
                    future._waiters.append(self)
                    continue
            self.add_result(future)

    def add_result(self, future):
        """A future has ended: its own call."""
        with self._changed:
            self._ready.append(future)
            self._changed.notify()

    add_exception = add_cancelled = add_result

    def count(self):
        """How many futures have yet to be yielded (int)."""
        return len(self._waiting)

    def is_empty(self):
        """Whether all have been yielded."""
        return not self._waiting

    def has_ready(self):
        """Whether the next one is there without waiting."""
        return bool(self._ready)

    def clear(self):
        """Forget the futures that have not been yielded."""
        with self._changed:
            waiting, self._waiting = self._waiting, set()
            self._ready.clear()
        for future in waiting:
            with future._session.settling:
                if self in future._waiters:
                    future._waiters.remove(self)

    def __iter__(self):
        return self

    def __next__(self):
        return self._value(self._next())

    def next_batch(self, block=True):
        """All that have ended (list); waits for one where none has, unless block=False."""
        batch = [self._next()] if block or self._ready else []
        while self._ready:
            batch.append(self._next())
        return [self._value(future) for future in batch]

    def batches(self):
        """Yield lists of what has ended."""
        while not self.is_empty():
            yield self.next_batch()

    def _next(self):
        with self._changed:
            while not self._ready:
                if not self._waiting:
                    raise StopIteration
                left = None if self._end is None else self._end - monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(
                        f"{len(self._waiting)} tasks have not ended within {self._timeout} s"
                    )
                _nesting.wait(lambda most: self._changed.wait_for(self.has_ready, most), left)
            future = self._ready.popleft()
            self._waiting.discard(future)
            return future

    def _value(self, future):
        if not self._with_results:
            return future
        if self._raise_errors:
            return future, future.result()
        try:
            return future, future.result()
        except BaseException as error:
            if future._state in _ENDED and (future.cancelled() or error is future._exception):
                return future, error
            raise

# SPDX-License-Identifier: Apache-2.0
"""dtask.Executor: the cluster as a concurrent.futures.Executor.

doc/executor.md holds it against CPython's own tests. A pool owns the client that it made: once it
was shut down, or nobody has it any more, that client is closed as soon as its last task has ended
and no result of it has yet to come from a worker. Before Python exits it waits for the tasks of
all pools.
"""

import itertools
import threading
import weakref
from concurrent.futures import Executor as _Base
from functools import partial
from time import monotonic

from ._future import Future
from ._pickling import name_of
from ._waiting import Latch, check_wait
from .errors import InitializerFailed, PickleError, TooLarge


_SLICED = {range, list, tuple}  # their slices are what islice gives of them, and cost less
_PARTS = 2  # chunks of what is left, for each worker


def _chunk(function, *columns):
    return list(map(function, *columns))


def _chunks(columns, size, workers):
    """The arguments of `_chunk` for each chunk of so many items; None: of a part of what is left,
    so that the first ones cost little for an item, and the last ones end at about the same time."""
    if size is None:
        columns = [c if c.__class__ in _SLICED else list(c) for c in columns]
        end = min(map(len, columns), default=0)
        start = 0
        while start < end:
            size = -(-(end - start) // (workers * _PARTS))
            yield tuple([column[start : min(start + size, end)] for column in columns])
            start += size
    else:
        rows = zip(*columns)
        for chunk in iter(lambda: tuple(itertools.islice(rows, size)), ()):
            yield tuple(zip(*chunk))


class Executor(_Base):
    """Runs functions on the cluster's workers.

    max_workers  how many the caller expects; kept as ``_max_workers`` for those who read it,
                 the cluster's own number counts. Default: the workers of the step.
    client       the Client to use; without one, one is made and closed after shutdown
    initializer  called with `initargs` by each process that runs a call of this pool, once, before
                 the first of them; where it raises, all calls fail with InitializerFailed, a
                 BrokenExecutor, and no more are taken

    Raises ConnectError.
    """

    def __init__(self, max_workers=None, client=None, *, initializer=None, initargs=()):
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        _check_exit()
        self._initial = None
        if initializer is not None:
            from ._initializer import Initial

            self._initial = Initial(initializer, initargs)
        self._own = client is None
        if client is None:
            from ._client import Client

            client = Client()
        self._client = client
        self._max_workers = max_workers or self._workers()
        self._lock = threading.RLock()  # arguments may come from a generator that submits
        self._futures = set()
        self._shut_down = False
        self._broken = False  # or why (str): its initializer has failed
        _living.add(self)

    def submit(self, function, /, *args, **kwargs):
        """Run function(*args, **kwargs); returns a dtask.Future. RuntimeError after shutdown,
        ClusterLost or InitializerFailed, both BrokenExecutors, once nothing can run any more. What
        cannot be pickled, or is too large, fails its future."""
        call = self._call(function)
        if not kwargs.keys().isdisjoint(("retries", "priority", "key", "pure")):
            call, kwargs = partial(call, **kwargs), {}  # they are the function's here
        self._check_fork()
        with self._lock:
            self._check()
            try:
                future = self._client.submit(call, *args, **kwargs)
            except (PickleError, TooLarge) as error:
                future = Future(self._client._session, name_of(call))
                future._fail(error)
            self._futures.add(future)
        future.add_done_callback(self._ended)
        return future

    def map(self, function, *iterables, timeout=None, chunksize=1, buffersize=None):
        """Yield the results of function over the iterables' items, in order.

        timeout     seconds from this call until all results must be there
        chunksize   items of one task; ``"auto"``: chosen by how many items and workers there are,
                    for functions that take less time than a task does; a chunk fails as a whole
        buffersize  how many tasks may be under way beyond what was yielded; default: all
        """
        if isinstance(chunksize, str):
            if chunksize != "auto":
                raise ValueError(f"chunksize={chunksize!r}: accepted: a number or 'auto'")
            chunksize = None
        elif chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None:
            if not isinstance(buffersize, int):
                raise TypeError("buffersize must be an integer or None")
            if buffersize < 1:
                raise ValueError("buffersize must be None or > 0")
        end = None if timeout is None else timeout + monotonic()
        call, items = function, zip(*iterables)
        if chunksize != 1:
            call = partial(_chunk, function)
            items = _chunks(iterables, chunksize, self._workers())
        if buffersize is None:
            self._check_fork()
            with self._lock:
                self._check()
                futures = self._client._map(self._call(call), items, lenient=True)
                self._futures.update(futures)
            for future in futures:
                future.add_done_callback(self._ended)
        else:
            futures = [self.submit(call, *args) for args in itertools.islice(items, buffersize)]
        results = self._results(futures, items, call, end)
        return _items(results) if chunksize != 1 else results

    def _workers(self):
        session = self._client._session
        return max(session.workers, session.expected, 1)

    def _call(self, function):
        return function if self._initial is None else self._initial.before(function)

    def _check_fork(self):
        if self._client._session.forked:  # a lock may be held by nobody who is here
            self._client._session.check()

    def _check(self):
        if self._broken:
            raise InitializerFailed(self._broken)
        if self._shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        _check_exit()

    def _ended(self, future):
        self._futures.discard(future)
        if self._initial is not None and future._failed and not self._broken:
            error = future.exception()
            if isinstance(error, InitializerFailed):
                self._break(str(error))
        if self._shut_down and self._own and not self._futures:
            self._client._session.close_soon()

    def _break(self, why):
        self._broken = why
        for future in list(self._futures):
            future._fail(InitializerFailed(why, task=future.key))
            self._client._session.cancel_late(future)

    def _results(self, futures, rest, call, end):
        futures.reverse()
        try:
            while futures:
                for args in itertools.islice(rest, 1):
                    futures.insert(0, self.submit(call, *args))
                # The future goes first, then its value: nothing here keeps either.
                futures[-1].exception(None if end is None else max(end - monotonic(), 0))
                yield futures.pop().result(None if end is None else max(end - monotonic(), 0))
        finally:
            self._client._session.cancel(futures)

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Take no more tasks; wait for those under way. cancel_futures: cancel these first, those
        that run as well."""
        session = self._client._session
        if session.forked:
            return
        with self._lock:
            self._shut_down = True
            futures = list(self._futures)
        if cancel_futures:
            session.cancel(futures)
        if wait:
            check_wait(futures)
            Latch(futures).wait()
        if self._own and (wait or not futures):
            if session.is_idle():
                self._client.close()
            else:
                session.close_soon()


def _items(chunks):
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()


# The end of Python: tasks of pools are waited for, as those of a ProcessPoolExecutor are.

_living = weakref.WeakSet()
_exiting = False


def _check_exit():
    if _exiting:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")


def _finish_all():
    global _exiting
    _exiting = True
    for pool in list(_living):
        if not pool._client._session.forked:
            Latch(list(pool._futures)).wait()


try:
    threading._register_atexit(_finish_all)  # before other threads are joined, from Python 3.9 on
except AttributeError:
    import atexit

    atexit.register(_finish_all)
except RuntimeError:
    _exiting = True  # it is under way already

# SPDX-License-Identifier: Apache-2.0
"""dtask.Executor: the cluster as a concurrent.futures.Executor."""

import itertools
import threading
from concurrent.futures import Executor as _Base
from functools import partial
from time import monotonic

from ._waiting import Latch


def _chunk(function, items):
    return [function(*args) for args in items]


class Executor(_Base):
    """Runs functions on the cluster's workers.

    max_workers  how many the caller expects; kept as ``_max_workers`` for those who read it,
                 the cluster's own number counts. Default: the workers of the step.
    client       the Client to use; without one, one is made and closed by shutdown

    Raises ConnectError.
    """

    def __init__(self, max_workers=None, client=None):
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._own = client is None
        if client is None:
            from ._client import Client

            client = Client()
        self._client = client
        self._max_workers = max_workers or max(client._session.expected, client._session.workers, 1)
        self._lock = threading.RLock()  # arguments may come from a generator that submits
        self._futures = set()
        self._shut_down = False

    def submit(self, function, /, *args, **kwargs):
        """Run function(*args, **kwargs); returns a dtask.Future. RuntimeError after shutdown."""
        call = function
        if not kwargs.keys().isdisjoint(("retries", "priority", "key", "pure")):
            call, kwargs = partial(function, **kwargs), {}  # they are the function's here
        with self._lock:
            self._check()
            future = self._client.submit(call, *args, **kwargs)
            self._futures.add(future)
        future.add_done_callback(self._ended)
        return future

    def map(self, function, *iterables, timeout=None, chunksize=1, buffersize=None):
        """Yield the results of function over the iterables' items, in order.

        timeout     seconds from this call until all results must be there
        chunksize   items of one task
        buffersize  how many tasks may be under way beyond what was yielded; default: all
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        end = None if timeout is None else timeout + monotonic()
        call, items = function, zip(*iterables)
        if chunksize > 1:
            call, single = partial(_chunk, function), items
            items = zip(iter(lambda: tuple(itertools.islice(single, chunksize)), ()))
        if buffersize is None:
            with self._lock:
                self._check()
                futures = self._client._map(call, items)
                self._futures.update(futures)
            for future in futures:
                future.add_done_callback(self._ended)
        else:
            futures = [self.submit(call, *args) for args in itertools.islice(items, buffersize)]
        results = self._results(futures, items, call, end)
        return itertools.chain.from_iterable(results) if chunksize > 1 else results

    def _check(self):
        if self._shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _ended(self, future):
        self._futures.discard(future)
        if self._shut_down and self._own and not self._futures:
            self._client.close()

    def _results(self, futures, rest, call, end):
        futures.reverse()
        try:
            while futures:
                for args in itertools.islice(rest, 1):
                    futures.insert(0, self.submit(call, *args))
                future = futures[-1]
                value = future.result(None if end is None else max(end - monotonic(), 0))
                futures.pop()
                del future
                yield value
        finally:
            self._client._session.cancel(futures)

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Take no more tasks; wait for those under way. cancel_futures: cancel these first, those
        that run as well."""
        with self._lock:
            self._shut_down = True
            futures = list(self._futures)
        if cancel_futures:
            self._client._session.cancel(futures)
        if wait:
            Latch(futures).wait()
        if self._own and (wait or not futures):
            self._client.close()

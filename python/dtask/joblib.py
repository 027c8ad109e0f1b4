# SPDX-License-Identifier: Apache-2.0
"""joblib on the cluster, and with it scikit-learn.

    import joblib, dtask.joblib

    dtask.joblib.register()
    with joblib.parallel_backend("dtask"):         # or parallel_config(backend="dtask")
        search.fit(X, y)

A batch of joblib's calls is a task. Parallel calls inside of a task run there, in threads or one
after the other, as joblib nests them. Both forms of joblib's interface are met: before 1.3 it waits
for each batch itself, since then results come in the callback.
"""

import os
from concurrent.futures import Future as PlainFuture, ThreadPoolExecutor

try:
    from joblib import register_parallel_backend
    from joblib._parallel_backends import AutoBatchingMixin, ParallelBackendBase
except ImportError as error:
    raise ImportError(f"dtask.joblib needs the package joblib: {error}", name="joblib") from error

from ._default import default_client
from ._future import Future

__all__ = ["DtaskBackend", "register"]

_IN_CALLBACK = hasattr(ParallelBackendBase, "supports_retrieve_callback")  # joblib 1.3 and later


def register(make_default=False):
    """Make the backend known to joblib as "dtask"; make_default: for Parallel without a backend."""
    register_parallel_backend("dtask", DtaskBackend, make_default=make_default)


class DtaskBackend(AutoBatchingMixin, ParallelBackendBase):
    """What joblib calls. Arguments besides joblib's own, as in ``parallel_backend("dtask", ...)``:

    client   the dtask.Client to use; default: the newest one, else one made by the environment
    retries  as in Client.submit, of every batch
    """

    default_n_jobs = -1
    supports_timeout = True
    supports_retrieve_callback = True
    uses_threads = False
    supports_sharedmem = False

    def __init__(self, client=None, retries=0, **joblibs):
        super().__init__(**joblibs)
        self._client = client
        self._retries = retries
        self._futures = set()  # batches that have not ended
        self._callbacks = None  # runs joblib's, which submit: not in the thread that receives
        self._pid = None  # the process that its thread is in

    def effective_n_jobs(self, n_jobs):
        """How many functions are to run at a time; -1: as many as the cluster can, -2: one less.

        Workers that have yet to come count as the others do. Raises ValueError for 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            n_jobs = self.default_n_jobs
        return n_jobs if n_jobs > 0 else max(self._slots() + 1 + n_jobs, 1)

    def _slots(self):
        client = self._connected()
        there = [worker.concurrency for worker in client.workers()]
        missing = max(client._session.expected - len(there), 0)
        return sum(there) + missing * max(there, default=1)

    def _connected(self):
        return default_client() if self._client is None else self._client

    def submit(self, func, callback=None):
        """Send a batch. callback: called with the future once the batch has ended."""
        client = self._connected()
        try:
            future = client.submit(run_batch, func, retries=self._retries)
        except Exception as error:  # joblib would wait for what a callback failed to submit
            future = Future(client._session, "run_batch")
            future._fail(error)
        self._futures.add(future)
        if self._pid != os.getpid():
            self._callbacks, self._pid = ThreadPoolExecutor(1, "dtask.joblib"), os.getpid()
        future.add_done_callback(lambda future: self._ended(future, callback))
        return future

    def apply_async(self, func, callback=None):
        """`submit` by its older name; before joblib 1.3 it returns what has a `get`."""
        future = self.submit(func, callback)
        return future if _IN_CALLBACK else _Job(future)

    def _ended(self, future, callback):
        self._futures.discard(future)
        if callback is None or not (_IN_CALLBACK or future.status == "finished"):
            return
        try:
            self._callbacks.submit(self._call_back, callback, future)
        except RuntimeError:
            pass  # Python is about to exit

    def _call_back(self, callback, future):
        """joblib takes the next of its calls here: what these raise is the caller's to know."""
        try:
            callback(future)
        except Exception as error:
            if not _IN_CALLBACK:  # it would return what there is
                failed = PlainFuture()
                failed.set_exception(error)
                self.parallel._jobs.append(_Job(failed))

    def retrieve_result_callback(self, out):
        """The result of a batch that has ended, or its exception."""
        return out.result()

    def abort_everything(self, ensure_ready=True):
        """A batch has failed: cancel the others."""
        self._connected().cancel(list(self._futures))

    def terminate(self):
        """joblib is done with this object."""
        if self._futures:
            self.abort_everything()
        self.reset_batch_stats()


class _Job:
    """A future as joblib before 1.3 asks for its result."""

    def __init__(self, future):
        self._future = future

    def get(self, timeout=None):
        """The result, waited for at most `timeout` seconds."""
        return self._future.result(timeout)


def run_batch(batch):
    """A task of the cluster."""
    return batch()

# SPDX-License-Identifier: Apache-2.0
"""Client: what users call. The names are dask.distributed's and mean the same."""

import itertools
import weakref
from collections import namedtuple
from concurrent.futures import TimeoutError as FutureTimeout

from . import _default, _gathering, _pickling, _uploads
from ._future import Future
from ._held import Held
from ._locate import locator
from ._outbox import MAX_BATCH, MAX_TASKS
from ._scatter import scatter, share
from ._session import Session
from ._terms import terms
from ._waiting import as_completed, flatten, wait
from .errors import ClusterLost, DtaskError, PickleError, TimeoutError, TooLarge

Worker = namedtuple(
    "Worker",
    "name node task pid nthreads memory_limit memory running queued done address concurrency",
    defaults=("", "", 0, 0, 0, 0, 0, 0, 0, 0, "", 1),
)
Worker.__doc__ = (
    "A worker. memory_limit and memory are in bytes; memory_limit 0 means none. concurrency is how "
    "many functions it runs at a time."
)


class Client:
    """A connection to the cluster.

    address         ``host:port`` of the scheduler; default: DTASK_ADDRESS
    token           64 hexadecimal digits; default: DTASK_TOKEN
    scheduler_file  path of the step's connection file; default: DTASK_SCHEDULER_FILE
    timeout         seconds to wait for a connection
    progress        True: show a bar for every map, False: for none, None: on a terminal

    One that nobody has any more is closed once its tasks have ended. A function that runs on a
    worker can make one as well: while it waits for tasks, its worker runs others.

    Raises ConnectError.
    """

    def __init__(
        self, address=None, token=None, scheduler_file=None, timeout=10.0, progress=None
    ):
        self._session = Session(locator(address, token, scheduler_file), timeout)
        self._show = progress
        weakref.finalize(self, self._session.close_soon).atexit = False
        _default.note(self)

    # Submitting.

    def submit(
        self,
        function,
        /,
        *args,
        retries=0,
        priority=0,
        timeout=None,
        workers=None,
        resources=None,
        key=None,
        pure=None,
        **kwargs,
    ):
        """Run function(*args, **kwargs) on a worker; returns its Future.

        retries    how often another try is to follow an exception that the function raises, or
                   its passing the worker's memory limit or `timeout`
        priority   integer; tasks of a higher one run first
        timeout    seconds that it may run; then its process is killed, and TaskTimeout raised
        workers    where it may run: a name, node or address of workers, or several
        resources  what it needs of its worker while it runs: ``{"cpus": 2, "memory": "2G", "gpu": 1}``;
                   workers have what their task's DTASK_RESOURCES says besides CPUs and memory
        key        name of the task in messages; default: the function's name and a number
        pure       accepted for dask.distributed's sake: every call is a task of its own

        Futures among the arguments, at any depth, are replaced by their results; the task waits
        for them, and fails as they fail. Raises PickleError, TooLarge, ClusterLost; its result
        raises NoSuitableWorker where no worker of the step has what it needs.
        """
        session = self._session
        number, name = session.function(function)
        what = (number, terms(retries, priority, timeout, workers, resources))
        data, inputs = _pickling.dump_arguments(args, kwargs, name)
        future = Future(session, name, key)
        if inputs:
            Held(session, future, what, data, inputs)
        else:
            session.outbox.send_tasks(what, [future], [data])
        return future

    def map(
        self,
        function,
        /,
        *iterables,
        retries=0,
        priority=0,
        timeout=None,
        workers=None,
        resources=None,
        key=None,
        progress=None,
        journal=None,
        pure=None,
        batch_size=None,
        **kwargs,
    ):
        """Run function(*items, **kwargs) for the iterables' items; returns a list of futures.

        It ends with the shortest iterable. `key` is a string, to which numbers are appended, or a
        sequence of names. `progress` overrides the client's. Keywords of more than 64 KiB are
        scattered, once for all calls. The rest is as in submit; `pure` and `batch_size` are
        accepted for dask.distributed's sake.

        journal  path of a file that gets each result as it comes. Calls that it has already, from
                 this run or one before, are not run: their futures have finished. Results that are
                 exceptions are not noted. A call is known by its function's name and its
                 arguments' pickle, which may have no futures among them: remove the file where the
                 function has changed. Raises OSError, and ValueError for a file that is no journal,
                 or that another process writes.
        """
        if not iterables:
            raise TypeError("map needs at least one iterable besides the function")
        keys = key
        if isinstance(key, str):
            keys = (f"{key}-{index}" for index in itertools.count())
        show = self._show if progress is None else progress
        how = terms(retries, priority, timeout, workers, resources)
        calls = None
        if journal is not None:
            from . import _journal

            calls = _journal.Calls(_journal.open_journal(journal), function)
        return self._map(function, zip(*iterables), kwargs, how, keys, show, calls=calls)

    def _map(
        self,
        function,
        items,
        kwargs={},
        how=None,
        keys=None,
        show=None,
        *,
        lenient=False,
        calls=None,
    ):
        """As map, with an iterable of tuples, terms and an iterator of keys; lenient: arguments that
        cannot be sent fail their future alone; calls: what a journal has of them."""
        session, given = self._session, kwargs
        number, name = session.function(function)
        what = (number, how or terms())
        bar = session.progress if session.progress.begin(show) else None
        if bar is not None:
            session.connection.wake()  # it has to look at the clock from now on

        def send():
            if bar is not None:
                bar.add(len(batch))
            session.outbox.send_tasks(what, batch, bodies)
            batch.clear()
            bodies.clear()

        dump = _pickling.dump_arguments
        keys = iter(() if keys is None else keys)
        futures, batch, bodies, size, most = [], [], [], 0, 16
        try:
            for args in items:
                if kwargs and not futures:
                    kwargs = share(session, kwargs, name)
                future = Future(session, name, next(keys, None))
                if calls is not None:
                    digest, result = calls.known(args, given, name)
                    if result is not None:
                        future._finish(result)
                        futures.append(future)
                        continue
                    calls.follow(future, digest)
                try:
                    data, inputs = dump(args, kwargs, name)
                except (PickleError, TooLarge) as error:
                    if not lenient:
                        raise
                    future._fail(error)
                    futures.append(future)
                    continue
                future._progress = bar
                futures.append(future)
                if inputs:
                    if bar is not None:
                        bar.add(1)
                    Held(session, future, what, data, inputs)
                    continue
                if batch and (len(batch) >= most or size + len(data) > MAX_BATCH):
                    send()
                    size = 0
                    most = min(most * 2, MAX_TASKS)  # small at first: workers start sooner
                batch.append(future)
                bodies.append(data)
                size += len(data)
            if batch:
                send()
        except BaseException:
            session.cancel(futures)
            raise
        finally:
            if bar is not None:
                bar.end()
        return futures

    def scatter(self, data, **_):
        """Futures of data that are at hand: of each item of a list, tuple, set or dict, in the same
        shape, else one. They are pickled once. Those up to 64 KiB are held here and travel with the
        tasks that use them; larger ones are brought to a worker, through the scheduler, and stay
        there. Keywords of dask.distributed's (broadcast, direct, hash, workers) change nothing.
        Raises PickleError, TooLarge (for objects of the script's own classes over 64 MiB),
        ClusterLost.
        """
        session = self._session
        if isinstance(data, dict):
            return {key: scatter(session, value) for key, value in data.items()}
        if isinstance(data, (list, tuple, set, frozenset)):
            return type(data)(scatter(session, value) for value in data)
        return scatter(session, data)

    # Results.

    def gather(self, futures, errors="raise"):
        """The results of futures, in the shape in which they come (a future, or nested lists,
        tuples, sets, dicts and iterators of them).

        errors  ``"raise"`` the first failure as soon as it is known; ``"skip"`` leaves futures
                that failed or were cancelled out of lists, sets and dicts
        """
        return _gathering.gather(futures, errors)

    as_completed = staticmethod(as_completed)
    wait = staticmethod(wait)

    def cancel(self, futures):
        """Cancel the tasks of futures (nested as in gather), even those that run."""
        futures = flatten(futures)
        for session in {future._session for future in futures}:
            session.cancel([future for future in futures if future._session is session])

    # The cluster.

    def wait_for_workers(self, n=None, timeout=None, *, n_workers=None):
        """Wait until `n` workers are connected (default: all that the step should have).

        `n_workers` is dask.distributed's name of `n`. Raises TimeoutError after `timeout` seconds.
        """
        n = n_workers if n is None else n

        session = self._session

        def target():
            return session.expected if n is None else n

        session.check()
        with session.count:
            if not session.count.wait_for(
                lambda: session.lost or session.workers >= target(), timeout
            ):
                raise TimeoutError(
                    f"{session.workers} of {target()} workers are connected after {timeout} s"
                )
        if session.lost:
            raise ClusterLost(session.lost)

    def info(self, timeout=10.0):
        """What the scheduler knows of itself, its tasks and its workers (dict, see protocol)."""
        try:
            return self._session.ask().result(timeout)
        except DtaskError:
            raise
        except FutureTimeout as error:
            raise TimeoutError(f"the scheduler does not answer within {timeout} s") from error

    def run(self, function, /, *args, workers=None, timeout=None, **kwargs):
        """Run function(*args, **kwargs) once on every worker, or on those of these names, nodes or
        addresses; returns a dict of the results by address of the worker.

        timeout  seconds that it may run. Raises the first failure.
        """
        named = [workers] if isinstance(workers, str) else workers
        chosen = [
            worker.address
            for worker in self.workers()
            if named is None or {worker.name, worker.node, worker.address}.intersection(named)
        ]
        futures = {
            address: self.submit(function, *args, workers=address, timeout=timeout, **kwargs)
            for address in chosen
        }
        return self.gather(futures)

    def upload(self, path):
        """Bring a module to the workers: a .py, a package's directory, a .zip, .whl or .egg.

        Functions that are sent afterwards can import it, also on workers that come later; the
        workers need not see the client's directories. An older upload of the same module makes way.
        Raises FileNotFoundError, and ValueError for what is none of these, or over 32 MiB packed.
        """
        self._session.upload(*_uploads.pack(path))

    upload_file = upload

    def workers(self):
        """The workers that are connected: a list of Worker records."""
        return [
            Worker(**{name: entry[name] for name in Worker._fields if name in entry})
            for entry in self.info()["workers"]
        ]

    def scheduler_info(self):
        """As dask.distributed's: a dict with ``workers``, a dict of dicts by address."""
        info = self.info()
        workers = {entry.get("address") or entry["name"]: entry for entry in info["workers"]}
        return {**info, "type": "Scheduler", "workers": workers}

    def nthreads(self):
        """Threads of each worker, a dict by address."""
        workers = self.scheduler_info()["workers"]
        return {address: entry["nthreads"] for address, entry in workers.items()}

    ncores = nthreads

    @property
    def id(self):
        """The step: ``"job.step"`` (str)."""
        return self._session.welcome.get("id", "")

    def get_executor(self, max_workers=None):
        """This client as a concurrent.futures.Executor."""
        from ._executor_pool import Executor

        return Executor(max_workers, client=self)

    def close(self):
        """Disconnect. Tasks that have not ended are cancelled. May be called again."""
        self._session.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        session = self._session
        state = session.lost or f"workers: {session.workers}"
        return f"<dtask.Client: {session.connection.address}, {state}>"

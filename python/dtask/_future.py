# SPDX-License-Identifier: Apache-2.0
"""Future: a task's result to be. A concurrent.futures.Future with key and status besides.

The receiver thread settles a future with the pickled result; the first thread that asks for it
unpickles it. A result that stays on a worker is fetched then. The state changes under the future's
own condition, as in the base class, so that concurrent.futures.wait and as_completed, and
asyncio.wrap_future, work on these as well.
"""

import pickle
import threading
from concurrent.futures import CancelledError, Future as _Base
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from threading import get_ident
from time import monotonic

from . import _inputs, _nesting
from .errors import ClusterLost, PickleError, RemoteError, RemoteTraceback, TimeoutError


class Inputs(threading.local):
    """Which futures the pickle that this thread is making has met."""

    active = False

    def __init__(self):
        self.found = []


inputs = Inputs()


class _Event(threading.Event):
    """One whose wait leaves the slot of the task that waits free."""

    def wait(self, timeout=None):
        return _nesting.wait(super().wait, timeout)


class _Waiters(list):
    """In an executor: where concurrent.futures.wait and as_completed enter what they wait with,
    before they do."""

    def append(self, waiter):
        if getattr(waiter, "event", None).__class__ is threading.Event:
            waiter.event = _Event()
        super().append(waiter)


class _Lazy:
    """An attribute of a future that is made when it is first asked for: once, even by two threads."""

    def __init__(self, make):
        self._make = make

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, future, owner=None):
        if future is None:
            return self
        future._watched = True  # before anybody can wait
        return future.__dict__.setdefault(self._name, self._make(future))


class Future(_Base):
    """The result of one task.

    key     name of the task: that of the function and a number, or what was given
    status  ``pending``, ``finished``, ``error``, ``cancelled`` or ``lost``

    It may be an argument of other tasks. It cannot leave this process otherwise.
    """

    # One of 100,000 has to be cheap. What most of them share is the class's; what the base class
    # makes for each of them, the condition and two lists, is made when it is first asked for. The
    # conditions of a session's futures have one lock, so that none can miss that it has ended.
    _condition = _Lazy(lambda future: threading.Condition(future._session.settling))
    _waiters = _Lazy(lambda _: _Waiters() if _nesting.level() else [])
    _done_callbacks = _Lazy(lambda _: [])
    _watched = False  # whether somebody has asked for one of these

    _state = PENDING
    _result = _exception = None
    _number = None  # the scheduler's, once it is sent or its key was asked for
    _raw = None  # the pickled result, until it is asked for
    _raw_error = None  # the pickled error, until it is asked for
    _opener = None  # the thread that unpickles it
    _remote = None  # where the result is, if it stays on a worker
    _away = False  # whether the result has yet to come from there
    _failed = False
    _progress = None  # the bar that counts this task
    _note = None  # of a journal: told of the result before anybody can have it

    def __init__(self, session, name, key=None):
        self._session = session
        self._name = name
        self._key = key

    @property
    def key(self):
        """Name of the task (str)."""
        if self._key is None:
            self._key = f"{self._name}-{self._session.outbox.number_of(self)}"
        return self._key

    @property
    def status(self):
        """``pending``, ``finished``, ``error``, ``cancelled`` or ``lost`` (str)."""
        if self._state == FINISHED:
            if not self._failed:
                return "finished"
            return "lost" if isinstance(self._exception, ClusterLost) else "error"
        if self._state == CANCELLED_AND_NOTIFIED:
            return "cancelled"
        return "lost" if self._session.forked else "pending"

    def __repr__(self):
        return f"<Future: {self.status}, key: {self.key}>"

    def __reduce__(self):
        if not inputs.active:
            raise TypeError(
                f"{self!r} cannot be pickled: a future may be an argument of a task, "
                "not captured by its function or sent elsewhere"
            )
        inputs.found.append(self)
        return _inputs.get, (len(inputs.found) - 1,)

    # What the owner of the future calls.

    def _finish(self, raw, remote=None):
        """Settle with a pickled result, or with a Remote."""
        if self._note is not None and remote is None and self._state is PENDING:
            self._note.pickled(raw)
        with self._session.settling:
            if self._state is not PENDING:
                return
            if self._progress is not None:
                self._progress.ended(False)
            self._raw = raw
            if remote is not None:
                self._remote = remote
                self._away = True
            self._state = FINISHED
            if not self._watched:
                return
            for waiter in self._waiters:
                waiter.add_result(self)
            self._condition.notify_all()
        if self._done_callbacks:
            self._invoke_callbacks()

    def _come(self, raw):
        """The pickled result, after all, in place of what was away."""
        if self._note is not None and self._away:
            self._note.pickled(raw)
        with self._condition:
            if self._away:
                self._raw = raw
                self._away = False
                self._condition.notify_all()

    def _fail(self, exception, raw=None):
        """Settle with an exception, or with a pickled one (then `exception` is None).

        A result that has yet to come from its worker can be lost still.
        """
        with self._condition:
            if self._state is not PENDING:
                if self._away:
                    self._away = False
                    self._exception, self._raw_error, self._failed = exception, raw, True
                    self._condition.notify_all()
                return
            if self._progress is not None:
                self._progress.ended(True)
            self._exception = exception
            self._raw_error = raw
            self._failed = True
            self._state = FINISHED
            for waiter in self._waiters:
                waiter.add_exception(self)
            self._condition.notify_all()
        if self._done_callbacks:
            self._invoke_callbacks()

    def _cancel(self):
        """Settle as cancelled. False where it was settled already."""
        with self._condition:
            if self._state is not PENDING:
                return False
            if self._progress is not None:
                self._progress.ended(True)
            self._state = CANCELLED_AND_NOTIFIED
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
        self._invoke_callbacks()
        return True

    def _pickled(self):
        """The pickled result of a future that finished without an error."""
        raw = self._raw
        if raw is not None:
            return raw
        if self._away:
            self.result()
        from ._pickling import dump

        return dump(self._result, f"the result of {self.key}")

    def _outcome(self):
        """What result() would raise, or None; the result is here then."""
        self._settle(None)
        return self._exception

    # What users call.

    def done(self):
        """Whether it has ended, in whatever way."""
        return self._state in (FINISHED, CANCELLED_AND_NOTIFIED)

    def cancelled(self):
        """Whether it was cancelled."""
        return self._state == CANCELLED_AND_NOTIFIED

    def cancel(self):
        """Cancel the task, even if it runs. False where it has ended already."""
        return self._session.cancel([self]) == 1

    def result(self, timeout=None):
        """The value, waited for at most `timeout` seconds.

        Raises what the function raised, DtaskError for what befell it, CancelledError,
        TimeoutError.
        """
        self._settle(timeout)
        if self._exception is not None:
            try:
                raise self._exception
            finally:
                self = None  # no cycle of exception, traceback and frame
        return self._result

    def exception(self, timeout=None):
        """What result() would raise, or None; CancelledError and TimeoutError are raised.

        A result that stays on a worker is not fetched for it, and can still be lost afterwards.
        """
        self._settle(timeout, fetch=False)
        return self._exception

    def traceback(self, timeout=None):
        """The traceback (str) of the process in which the function raised, or None."""
        cause = getattr(self.exception(timeout), "__cause__", None)
        return cause.text if isinstance(cause, RemoteTraceback) else None

    def _settle(self, timeout, fetch=True):
        """Wait, and once unpickle what came, or fetch it."""
        if (
            self._state == FINISHED
            and self._raw is None
            and self._raw_error is None
            and not (self._away and fetch)
        ):
            return
        end = None if timeout is None else monotonic() + timeout
        if self._state == PENDING:
            self._session.check(self.key)
            if not _nesting.level():
                self._session.connection.direct.read_for(self, end)
            if self._state is PENDING:
                self._wait(timeout, end)
        if self._state == CANCELLED_AND_NOTIFIED:
            raise CancelledError()
        if self._state != FINISHED:
            raise TimeoutError(f"{self.key} has not ended within {timeout} s")
        self._unpickle()
        if self._away and fetch:
            if self._session.forked:
                self._session.check(self.key)
            from ._remote import bring

            bring(self, timeout, end)
            self._unpickle()  # it was lost instead, as its task failed

    def _wait(self, timeout, end):
        left = None if timeout is None else max(end - monotonic(), 0.0)
        with self._condition:
            _nesting.wait(lambda most: self._condition.wait_for(self._has_left, most), left)

    def _has_left(self):
        return self._state is not PENDING

    def _unpickle(self):
        """Unpickle what came, in one thread; without the lock, for it may take long, and run code
        that waits for others."""
        lock, me = self._session.settling, get_ident()
        with lock:
            while self._opener not in (None, me):
                self._condition.wait()
            raw, raw_error = self._raw, self._raw_error
            if raw is None and raw_error is None:
                return
            self._opener = me
        value = error = None
        opened = False
        try:
            if raw is not None:
                value = pickle.loads(raw)
            else:
                error = _unpickle_error(raw_error, self.key)
            opened = True
        except Exception as cause:
            error = PickleError(
                f"the result of {self.key} cannot be unpickled: {cause!r}", task=self.key
            )
            error.__cause__, opened = cause, True
        finally:
            with lock:
                if opened:  # or a KeyboardInterrupt came
                    self._result, self._raw, self._raw_error = value, None, None
                if error is not None:
                    self._exception, self._failed = error, True
                self._opener = None
                if self._watched:
                    self._condition.notify_all()


def _unpickle_error(raw, key):
    """The exception of protocol section 5, with the remote traceback as its cause."""
    try:
        data, name, message, text = pickle.loads(raw)
    except Exception as error:
        return PickleError(f"the error of {key} cannot be unpickled: {error!r}", task=key)
    exception = None
    if data is not None:
        try:
            exception = pickle.loads(data)
        except Exception as error:
            text += f"\n({name} could not be unpickled here: {error!r})\n"
    if not isinstance(exception, Exception):
        exception = RemoteError(f"{key} raised {name}: {message}", task=key)
    exception.__cause__ = RemoteTraceback(text)
    return exception

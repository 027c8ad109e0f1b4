# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, as exceptions. All are below DtaskError.

Every one bears the same attributes, None where they do not apply:

task       key of the task, e.g. ``"simulate-17"``
worker     name of the worker that ran it
node       node of that worker
limit      memory limit of the worker (bytes)
peak       memory that the executor had when it was stopped (bytes)
signal     number of the signal that ended the executor
exit_code  exit code of the executor
tries      how often the task was tried
"""

import builtins
import concurrent.futures
import pickle

_ATTRIBUTES = ("task", "worker", "node", "limit", "peak", "signal", "exit_code", "tries")


if issubclass(concurrent.futures.TimeoutError, builtins.TimeoutError):
    TimeoutError = builtins.TimeoutError
else:  # before Python 3.11 the two are strangers: be both

    class TimeoutError(concurrent.futures.TimeoutError, builtins.TimeoutError):
        """The time given has passed."""


class DtaskError(Exception):
    """The root of dtask's exceptions."""

    task = worker = node = limit = peak = signal = exit_code = tries = None

    def __init__(self, message="", **attributes):
        super().__init__(message)
        for name, value in attributes.items():
            if name not in _ATTRIBUTES:
                raise TypeError(f"unknown attribute {name!r}")
            setattr(self, name, value)


class ConnectError(DtaskError, ConnectionError):
    """No scheduler could be reached, or it does not hold this step's token."""


class ProtocolError(DtaskError):
    """The peer sent something that the wire protocol does not allow."""


class ClusterLost(DtaskError, concurrent.futures.BrokenExecutor):
    """The connection to the scheduler is gone, and the task's result with it."""


class InitializerFailed(DtaskError, concurrent.futures.BrokenExecutor):
    """The initializer of an Executor raised: nothing can run in that pool any more."""


class MemoryLimitExceeded(DtaskError, MemoryError):
    """The task passed its worker's memory limit (``limit``, ``peak`` in bytes).

    Or it was killed below that, twice, since the step's tasks had used up all its memory on the node.
    """


class WorkerCrashed(DtaskError):
    """The process that ran the task died, each of ``tries`` times (``signal`` or ``exit_code``)."""


class TaskTimeout(DtaskError, TimeoutError):
    """The task ran longer than its ``timeout``, and its process was killed."""


class NoSuitableWorker(DtaskError):
    """No worker of the step has what the task needs (``workers``, ``resources``)."""


class TooLarge(DtaskError, ValueError):
    """A function, its arguments or its result are larger than a message may be (64 MiB)."""


class PickleError(DtaskError, pickle.PicklingError):
    """A function, its arguments or its result cannot be pickled or unpickled."""


class RemoteError(DtaskError):
    """The function raised something that cannot be raised here as it is: an exception that
    does not survive pickling, or SystemExit and its like, which would end the client."""


class RemoteTraceback(Exception):
    """The traceback (``text``) of the process that ran the function: the cause of its error."""

    __module__ = "dtask"

    def __init__(self, text):
        super().__init__(text)
        self.text = text

    def __str__(self):
        return '\n"""\n' + self.text.rstrip("\n") + '\n"""'

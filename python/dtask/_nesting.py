# SPDX-License-Identifier: Apache-2.0
"""A task that is a client itself. Read by clients and executors.

While the call of an executor waits for tasks of its own, the executor says so to its worker, which
runs others meanwhile: were it not for that, tasks that wait for each other would fill the cluster
and stand still. It is said only after GRACE, since most waits in a deep recursion are shorter than
what another process costs.

Tasks of a task come before those of its client, so that a recursion goes deep first, and few calls
wait at a time: each function knows at which depth it was submitted.
"""

from _thread import get_ident

GRACE = 0.005  # s


class Call:
    """The call that this process runs, where it is an executor.

    tell   called with True where a wait begins and False where it ends; None: no executor
    owed   answers to the former that have yet to come; calls that come before them are void
    depth  0 for a function that the step's client submitted, 1 for one that such a function did, …
    """

    def __init__(self):
        self.tell = None
        self.thread = None
        self.task = 0
        self.owed = 0
        self.depth = 0


call = Call()


def serve(tell):
    """This thread is an executor's, which runs calls in it."""
    call.tell = tell
    call.thread = get_ident()


def level():
    """The depth of functions that are submitted here."""
    return 0 if call.tell is None else call.depth + 1


def wait(waiter, timeout=None):
    """waiter(timeout), which is true once what it waits for is there, and looks for it first: it may
    be called twice, and what comes as the first call ends wakes nobody in the second."""
    tell = call.tell
    if tell is None or get_ident() != call.thread:
        return waiter(timeout)
    if timeout is not None and timeout <= GRACE:
        return waiter(timeout)
    if waiter(GRACE):
        return True
    tell(True)
    call.owed += 1
    try:
        return waiter(None if timeout is None else timeout - GRACE)
    finally:
        tell(False)


class Nested:
    """A function that was submitted at a depth above 0."""

    __slots__ = ("function", "depth")

    def __init__(self, function, depth):
        self.function = function
        self.depth = depth

    def __call__(self, *args, **kwargs):
        call.depth = self.depth
        try:
            return self.function(*args, **kwargs)
        finally:
            call.depth = 0

# SPDX-License-Identifier: Apache-2.0
"""Scattering: values that are at hand, as futures.

Small ones are held here and travel with the tasks that use them. A larger one is sent once, as a
task that does nothing but return it: it stays on the worker that runs it.
"""

from . import _pickling
from ._future import Future
from ._inputs import identity
from ._store import INLINE
from ._terms import terms

_SMALL = (bool, int, float, complex, type(None), Future)  # never worth to scatter


def scatter(session, value):
    """The future of a value. Raises PickleError, TooLarge, ClusterLost."""
    name = type(value).__name__
    what = f"the scattered {name}"
    data = _pickling.dump(((value,), {}), what)
    if len(data) > INLINE:
        return _send(session, name, data)
    future = Future(session, name)
    future._finish(_pickling.dump(value, what))
    return future


def share(session, kwargs, name):
    """The keywords of many calls of a function, the large ones scattered."""
    shared = {}
    for key, value in kwargs.items():
        if not isinstance(value, _SMALL):
            data, inputs = _pickling.dump_arguments((value,), {}, name)
            if len(data) > INLINE and not inputs:
                value = _send(session, key, data)
        shared[key] = value
    return shared


def _send(session, name, arguments):
    future = Future(session, name)
    session.outbox.send_tasks((session.function(identity)[0], terms()), [future], [arguments])
    return future

# SPDX-License-Identifier: Apache-2.0
"""Scattering: values that are at hand, as futures.

Small ones are held here and travel with the tasks that use them. A larger one is sent once, as a
task that does nothing but return it: it stays on the worker that runs it. One that is too large for
a message goes in pieces, each a task, to one that joins them.
"""

from pickle import PickleBuffer

from . import _pickling
from ._future import Future
from ._graph import Ref, Sender
from ._inputs import Joined, identity, piece
from ._store import INLINE, pack
from ._terms import terms
from ._wire import MAX_VALUE

PIECE = 32 << 20  # bytes of a value that go in one message
MARGIN = 1 << 10  # bytes that the arguments around a value may take
_SMALL = (bool, int, float, complex, type(None), Future)  # never worth to scatter


def scatter(session, value):
    """The future of a value. Raises PickleError, ClusterLost."""
    name = type(value).__name__
    what = f"the scattered {name}"
    parts = _parts(value)
    if parts:
        return _send_pieces(session, name, parts)
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


def _parts(value):
    """The pickle and the buffers of a value that is too large for a message, else None."""
    if getattr(value, "nbytes", MAX_VALUE) < MAX_VALUE >> 1 or isinstance(value, _SMALL):
        return None  # not worth a look
    try:
        parts = pack(value)
    except Exception:
        return None  # whoever pickles it next says why
    if isinstance(parts, bytes) or b"__main__" in parts[0]:
        return None
    views = [memoryview(part).cast("B") for part in parts]
    return views if sum(map(len, views)) > MAX_VALUE - MARGIN else None


def _send_pieces(session, name, parts):
    pieces = [part[at : at + PIECE] for part in parts for at in range(0, len(part), PIECE)]
    sender = Sender(session, len(pieces) + 1)
    numbers = [sender.add(piece, (PickleBuffer(one.toreadonly()),), {})[0] for one in pieces]
    places = [Ref(index) for index in range(len(pieces))]
    _, future = sender.add(Joined, ([len(part) for part in parts], places), {}, numbers, name)
    sender.flush(complete=True)
    return future


def _send(session, name, arguments):
    future = Future(session, name)
    session.outbox.send_tasks((session.function(identity)[0], terms()), [future], [arguments])
    return future

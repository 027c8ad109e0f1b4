# SPDX-License-Identifier: Apache-2.0
"""The client of those who do not name one: dtask.dask and dtask.joblib.

It is the newest open Client of this process; where there is none, one is made by the environment
and kept until the process ends. A client that was closed, lost its cluster or was inherited by a
fork counts as none.
"""

import os
import threading
import weakref

_lock = threading.Lock()
_known = []  # weak references to the clients of this process, oldest first
_made = None  # the one that was made here: nobody else holds it


def note(client):
    """A client was made."""
    with _lock:
        _known[:] = [one for one in _known if one() is not None]
        _known.append(weakref.ref(client))


def _newest():
    for one in reversed(list(_known)):
        client = one()
        if client is not None and not client._session.lost and not client._session.forked:
            return client
    return None


def default_client():
    """A Client that is connected. Raises ConnectError."""
    global _made
    client = _newest()
    if client is None:
        from ._client import Client

        client = _made = Client()  # two threads may make one each: both work
    return client


def _after_fork():
    global _lock
    _lock = threading.Lock()  # its holder may not be in this process


os.register_at_fork(after_in_child=_after_fork)

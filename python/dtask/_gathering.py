# SPDX-License-Identifier: Apache-2.0
"""Gathering: the results of many futures, in the shape in which they come."""

from ._future import Future
from ._remote import bring_all
from ._waiting import Latch, check_wait, flatten

_SKIPPED = object()


def gather(futures, errors):
    """What Client.gather does."""
    if errors not in ("raise", "skip"):
        raise ValueError(f"errors={errors!r}: expected 'raise' or 'skip'")
    futures = _fixed(futures)
    found = flatten(futures)
    check_wait(found)
    Latch(found, first_failure=errors == "raise").wait()
    if errors == "raise":
        for future in found:
            if future.done() and (future._failed or future.cancelled()):
                future.result()
    bring_all(found)
    result = _collect(futures, errors == "skip")
    return None if result is _SKIPPED else result


def _fixed(futures):
    """Iterators as lists: they can be gone through once only."""
    if isinstance(futures, (Future, list, tuple, set, frozenset, dict)):
        return futures
    return list(futures) if hasattr(futures, "__iter__") else futures


def _collect(item, skip):
    if isinstance(item, Future):
        if skip and (item.cancelled() or item._outcome() is not None):
            return _SKIPPED
        return item.result()
    if isinstance(item, dict):
        pairs = ((key, _collect(value, skip)) for key, value in item.items())
        return {key: value for key, value in pairs if value is not _SKIPPED}
    values = [value for value in (_collect(one, skip) for one in item) if value is not _SKIPPED]
    return type(item)(values) if isinstance(item, (tuple, set, frozenset)) else values

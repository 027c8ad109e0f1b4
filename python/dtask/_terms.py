# SPDX-License-Identifier: Apache-2.0
"""Terms: how tasks are to be run, as the members of `submit` and `graph` (doc/protocol.md)."""

import json

from . import _nesting


def terms(retries=0, priority=0, timeout=None, workers=None, resources=None):
    """The members as text, without braces. Raises TypeError and ValueError.

    priority   a task's own tasks come before those of its client
    timeout    seconds that one execution may take, or None
    workers    names, nodes or addresses of workers: a string, or several
    resources  a dict of amounts: ``cpus``, ``memory`` (bytes, or a string as "2G"), or a name that
               workers have by DTASK_RESOURCES
    """
    text = '"retries":%d,"priority":%d' % (
        _natural("retries", retries),
        _integer("priority", priority) + _nesting.level(),
    )
    if timeout is not None:
        text += ',"timeout":%d' % _milliseconds(timeout)
    if workers:
        text += ',"workers":' + json.dumps(_names(workers))
    if resources:
        amounts = {name: _amount(name, amount) for name, amount in resources.items()}
        text += ',"resources":' + json.dumps(amounts)
    return text


def _natural(name, value):
    if _integer(name, value) < 0:
        raise ValueError(f"{name}={value!r}: expected 0 or more")
    return value


def _integer(name, value):
    if not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: expected an integer")
    return value


def _milliseconds(timeout):
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool):
        raise TypeError(f"timeout={timeout!r}: expected seconds")
    if not 0 < timeout < 4_000_000:
        raise ValueError(f"timeout={timeout!r}: expected more than 0 and less than 4000000 seconds")
    return max(int(timeout * 1000), 1)


def _names(workers):
    names = [workers] if isinstance(workers, str) else list(workers)
    for name in names:
        if not isinstance(name, str) or not name:
            raise TypeError(f"workers={workers!r}: expected names of workers or nodes")
    return names


def _amount(name, amount):
    if not isinstance(name, str) or not name:
        raise TypeError(f"resources: {name!r}: expected a name")
    if name == "memory" and isinstance(amount, str):
        amount = _bytes(amount)
    return _natural(f"resources[{name!r}]", amount)


def _bytes(size):
    """As --dtask-memory has it: a number with K, M, G or T."""
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    if size[:-1].isdigit() and size[-1].upper() in units:
        return int(size[:-1]) << units[size[-1].upper()]
    raise ValueError(f"resources: memory {size!r}: expected a number with K, M, G or T, as 500M")

# SPDX-License-Identifier: Apache-2.0
"""What a `failed` message of the scheduler means to the future it is about."""

import errno
import signal

from ._pickling import size_text
from .errors import (
    ClusterLost,
    MemoryLimitExceeded,
    NoSuitableWorker,
    TaskTimeout,
    TooLarge,
    WorkerCrashed,
)


def settle(future, header, payload):
    """Settle a future by a `failed` message. KeyError, TypeError where that is malformed.

    One that has finished, and whose value was lost since on its worker, fails as well.
    """
    kind = header["kind"]
    if kind == "raised":
        future._fail(None, payload)
    elif kind == "cancelled" and future._cancel():
        pass
    else:
        message = header.get("message") or ""
        name = f"{future._name}-{future._number}: "  # the scheduler's name of the task; ours follows
        if message.startswith(name):
            message = message[len(name) :]
        future._fail(_exception(kind, future.key, message, header))


def _exception(kind, key, message, header):
    worker, node = header.get("worker") or None, header.get("node") or None
    tries = header.get("tries") or None
    about = {"task": key, "worker": worker, "node": node, "tries": tries}
    where = f"worker {worker or '?'} on node {node or '?'}"
    if kind == "memory":
        limit, peak = header.get("limit") or None, header.get("peak") or None
        if message.startswith("had "):  # it was below its limit, and the step had no more
            text = f"{key}: {message}"
        else:
            text = f"{key}: passed the memory limit"
            text += f" of {size_text(limit)}" if limit else ""
            text += f" (peak {size_text(peak)})" if peak else ""
        return MemoryLimitExceeded(f"{text}, {where}", limit=limit, peak=peak, **about)
    if kind == "crashed":
        number = header.get("signal") or None
        code = None if number else header.get("exit")
        if number:
            how = f"was killed by signal {number}{_signal_name(number)}"
        elif code is not None:
            how = f"exited with code {code}"
        else:
            how = "died"
        often = f", tried {tries} times" if tries and tries > 1 else ""
        more = f": {message}" if message and number is None and code is None else ""
        return WorkerCrashed(
            f"{key}: the process that ran it {how}{often}, {where}{more}",
            signal=number,
            exit_code=code,
            **about,
        )
    if kind == "too_large":
        return TooLarge(f"{key}: {message or 'the result is larger than 64 MiB'}, {where}", **about)
    if kind == "timeout":
        return TaskTimeout(f"{key}: {message}, {where}", **about)
    if kind == "full":
        return OSError(errno.ENOSPC, f"{key}: {message}, {where}")
    if kind == "unsuited":
        return NoSuitableWorker(f"{key}: {message}", task=key)
    return ClusterLost(f"{key}: {message or 'the task was lost'}", **about)


def _signal_name(number):
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""

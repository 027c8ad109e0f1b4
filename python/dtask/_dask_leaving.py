# SPDX-License-Identifier: Apache-2.0
"""Workers that leave: which of them come back.

A Dask worker may close without having died. With a nanny, Dask would start it again after
`Client.restart` and leave it away after `Client.retire_workers`; here our launcher takes the
nanny's place and needs to know which it was. It comes back unless it was sent away for good:

    retired by the scheduler                      stays away
    `close_worker`, the scheduler's own end       stays away
    its lifetime is over, lifetime.restart off    stays away
    `Client.restart`, lost contact, all else      comes back

The scheduler asks a worker to close by the same words in the first and the last case; so ours asks
one that it retires itself. A release whose `Worker.close` takes no
reason cannot tell: there every worker comes back.
"""

import functools
import inspect

RETIRED = "dtask-retired"
AWAY = {RETIRED, "scheduler-close-worker", "scheduler-close", "worker-close"}
LIFETIME = "worker-lifetime-reached"


def gives_reasons(worker_class):
    """Does this release say why a worker closes?"""
    close = getattr(worker_class, "close", None)
    return close is not None and "reason" in inspect.signature(close).parameters


def comes_back(reason, nanny=True):
    """Is a worker that closed so to be started again? `nanny`: was its nanny to go with it?"""
    if reason == LIFETIME:
        return not nanny
    return reason not in AWAY


def remembering(worker_class):
    """The class with an attribute `comes_back`, set when it is first asked to close."""
    if not gives_reasons(worker_class):
        return type("Worker", (worker_class,), {"comes_back": True})
    signature = inspect.signature(worker_class.close)

    class Worker(worker_class):
        @functools.wraps(worker_class.close)
        async def close(self, *args, **kwargs):
            given = signature.bind(self, *args, **kwargs)
            given.apply_defaults()
            if not hasattr(self, "comes_back"):
                reason, nanny = given.arguments["reason"], given.arguments.get("nanny", True)
                self.comes_back = comes_back(reason, nanny)
            return await super().close(*args, **kwargs)

    return Worker


def sending_away(scheduler_class, worker_class):
    """The class, which tells a worker that it retires that this is for good."""
    removal = getattr(scheduler_class, "remove_worker", None)
    if removal is None or not gives_reasons(worker_class):
        return scheduler_class
    signature = inspect.signature(removal)

    class Scheduler(scheduler_class):
        @functools.wraps(removal)
        async def remove_worker(self, *args, **kwargs):
            try:
                said = signature.bind(self, *args, **kwargs).arguments
                retired = said.get("expected", said.get("safe", False))
                if retired and said.get("close", True):
                    address = self.coerce_address(said["address"])
                    self.stream_comms[address].send({"op": "close", "reason": RETIRED})
                    kwargs["close"] = False  # said; twice would make the worker complain
            except Exception:  # it has gone already, or a release that we do not know
                pass
            return await super().remove_worker(*args, **kwargs)

    return Scheduler

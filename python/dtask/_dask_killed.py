# SPDX-License-Identifier: Apache-2.0
"""How workers died, said by Dask's own KilledWorker.

Dask's scheduler sees a lost connection and nothing else. The worker's launcher knows of what its
process died and tells us (`Deaths.add`); the scheduler's class is extended so that a KilledWorker
names these reasons. Where a release has no `remove_worker` or no KilledWorker of the kind that we
know, everything stays as it is there.
"""

import asyncio
import functools
import inspect
import pickle
from collections import OrderedDict

KEPT = 32  # deaths
PATIENCE = 1.0  # seconds to wait for the reason of a death that Dask has seen already


class Deaths:
    """How the last few workers ended, and which tasks Dask had given to each, by its address."""

    def __init__(self):
        self._how = OrderedDict()
        self._held = OrderedDict()
        self._waiting = {}

    def add(self, name, address, how):
        """A worker's launcher says how it ended."""
        self._keep(self._how, address, f"{name} {how}")
        if address in self._waiting:
            self._waiting[address].set()

    def held(self, address, keys):
        """Dask's scheduler has lost a worker that had the tasks `keys`."""
        self._keep(self._held, address, frozenset(keys))

    async def told(self, address):
        """Wait until the reason is known, but not for long."""
        if address in self._how:
            return
        event = self._waiting.setdefault(address, asyncio.Event())
        try:
            await asyncio.wait_for(event.wait(), PATIENCE)
        except asyncio.TimeoutError:
            pass
        self._waiting.pop(address, None)

    def of(self, key):
        """Reasons of the deaths of workers that had task `key`, oldest first."""
        return [
            self._how[address]
            for address, keys in self._held.items()
            if key in keys and address in self._how
        ]

    @staticmethod
    def _keep(table, address, value):
        table.pop(address, None)
        table[address] = value
        while len(table) > KEPT:
            table.popitem(last=False)


def _rebuild(arguments, how):
    # Runs in the client, where this module may be missing: it travels by value.
    from distributed.scheduler import KilledWorker as Plain

    class KilledWorker(Plain):
        def __str__(self):
            return f"{Plain.__str__(self)} How the workers died: {how}."

        def __reduce__(self):
            return Plain, arguments

    KilledWorker.__module__, KilledWorker.__qualname__ = Plain.__module__, Plain.__qualname__
    return (KilledWorker if how else Plain)(*arguments)


_rebuild.__module__ = "__main__"  # which cloudpickle takes by value


class _Rebuilt:
    """Unpickles as what _rebuild makes of the arguments."""

    def __init__(self, *arguments):
        self._arguments = arguments

    def __reduce__(self):
        return _rebuild, self._arguments


def _with_reasons(plain, deaths):
    """A class that takes the place of `plain`, Dask's KilledWorker, where it is raised."""

    class KilledWorker(plain):
        def __reduce__(self):
            import cloudpickle

            how = "; ".join(deaths.of(self.task))
            return pickle.loads, (cloudpickle.dumps(_Rebuilt(self.args, how)),)

    return KilledWorker


def _fits(cls, plain):
    try:
        removal = inspect.signature(cls.remove_worker).parameters
        error = inspect.signature(plain.__init__).parameters
    except (AttributeError, TypeError, ValueError):
        return False
    return (
        inspect.iscoroutinefunction(inspect.unwrap(cls.remove_worker))  # behind log_errors
        and "address" in removal
        and isinstance(plain, type)
        and issubclass(plain, Exception)
        and list(error)[1:3] == ["task", "last_worker"]
    )


def explaining(cls, module, deaths):
    """The scheduler's class `cls`, of `module`, with a KilledWorker that tells of `deaths`."""
    plain = getattr(module, "KilledWorker", None)
    if not _fits(cls, plain):
        return cls
    module.KilledWorker = _with_reasons(plain, deaths)
    signature = inspect.signature(cls.remove_worker)

    async def ask(scheduler, address):
        lost = scheduler.workers.get(scheduler.coerce_address(address))
        if lost is None:
            return
        tasks = list(lost.processing)
        deaths.held(lost.address, (task.key for task in tasks))
        if any(task.suspicious >= scheduler.allowed_failures for task in tasks):
            await deaths.told(lost.address)

    class Scheduler(cls):
        @functools.wraps(cls.remove_worker)
        async def remove_worker(self, *args, **kwargs):
            try:
                given = signature.bind(self, *args, **kwargs).arguments
                if not given.get("expected", given.get("safe", False)):
                    await ask(self, given["address"])
            except Exception:  # a release that we do not know goes its own way
                pass
            return await super().remove_worker(*args, **kwargs)

    return Scheduler

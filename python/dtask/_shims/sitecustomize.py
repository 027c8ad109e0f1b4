# SPDX-License-Identifier: Apache-2.0
"""Scripts that bring their own Dask cluster use the step's instead: ``srun --dtask=dask``.

This directory is on the path of the engine's client only, so Python imports this module when it
starts. It hands on to the user's own sitecustomize and, if `distributed` is ever imported, adapts
its Client: without an address of its own it connects to the step's cluster, and what was meant for
a local cluster, or for a scheduler file, is left out and told in one line (doc/adr/0017). So is the
SLURMRunner of dask_jobqueue adapted, which would start a scheduler here.

Invariants: nothing is imported here that Python has not loaded already; whatever fails leaves the
user's Dask as it was. Any Python may meet this file, so its syntax is that of the oldest.
"""

import os
import sys


def _adapt(module):
    """Let a Client of the module `distributed` that has no address take the step's."""
    import functools
    import inspect

    client = module.Client
    original = client.__init__
    signature = inspect.signature(original)
    kinds = signature.parameters.values()
    rest = [one.name for one in kinds if one.kind is inspect.Parameter.VAR_KEYWORD]
    if "address" not in signature.parameters or not rest:
        return  # not the Client that we know

    @functools.wraps(original)
    def __init__(self, *args, **kwargs):
        try:
            args, kwargs = _of_the_step(signature, rest[0], self, args, kwargs)
        except Exception:
            pass  # the original knows what is wrong
        original(self, *args, **kwargs)

    client.__init__ = __init__
    from dtask import _dask_versions

    _dask_versions.without_loading(module.versions)


def _of_the_step(signature, rest, client, args, kwargs):
    """The arguments (args, kwargs) by which this Client connects to the step's cluster."""
    import dask

    given = signature.bind(client, *args, **kwargs).arguments
    address = dask.config.get("scheduler-address", None)
    if given.get("address") is not None or not address:
        return args, kwargs
    left_out = list(given.pop(rest, {}))
    if given.get("security"):
        left_out.append("security")
    path = given.get("scheduler_file")
    if path is not None and not _names(path, address):
        left_out.append("scheduler_file")
    kwargs = {
        name: value
        for name, value in list(given.items())[1:]
        if name not in ("scheduler_file", "security")
    }
    _tell("Client", left_out)
    return (), kwargs


def _names(path, address):
    """Whether a scheduler file is there and leads to this address."""
    import json

    try:
        with open(os.path.expanduser(path)) as file:
            return json.load(file).get("address") == address
    except (OSError, ValueError, AttributeError):
        return False


def _adapt_runner(module):
    """Let a SLURMRunner of dask_jobqueue be the client's end of the step's cluster."""
    import dask
    from distributed.core import Status

    if not dask.config.get("scheduler-address", None):
        return
    runner, role = module.SLURMRunner, module.Role.client
    original = runner.__init__

    def __init__(self, *args, **kwargs):
        left_out = [name for name in ("scheduler_options", "worker_options") if kwargs.get(name)]
        _tell("SLURMRunner", left_out + (["worker_class"] if kwargs.get("worker_class") else []))
        original(self, *args, **kwargs)

    def start(self):
        self.role = role
        self.scheduler_address = dask.config.get("scheduler-address")
        self.n_workers = int(os.environ["DTASK_NWORKERS"])
        self.status = Status.running

    def close(self):
        self.status = Status.closed  # the cluster stays: it is the step

    async_start, async_close = _coroutine(start), _coroutine(close)
    runner.__init__, runner._start, runner._close = __init__, async_start, async_close


def _coroutine(function):
    """A coroutine function that does what `function` does."""
    import asyncio

    def begin(self):
        function(self)
        return asyncio.sleep(0)

    return begin


def _tell(what, left_out):
    if left_out:
        sys.stderr.write(
            "dtask: %s() uses the cluster of the step; not taken: %s\n"
            % (what, ", ".join(left_out))
        )


def _load(load, module):
    """Load the module, quickly if that is possible."""
    try:
        from dtask._dask_loading import quickly
    except Exception:
        load(module)
    else:
        with quickly():
            load(module)


class _Finder(object):
    """In sys.meta_path until what can be adapted is looked for; adapts it once it is loaded."""

    adapts = {"distributed": _adapt, "dask_jobqueue.slurm": _adapt_runner}

    @staticmethod
    def find_spec(name, path=None, target=None):
        adapt = _Finder.adapts.pop(name, None)
        if adapt is None:
            return None
        for finder in sys.meta_path:
            if finder is not _Finder:
                spec = getattr(finder, "find_spec", lambda *_: None)(name, path, target)
                if spec is not None:
                    break
        else:
            return None
        try:
            loader = spec.loader
            load = loader.exec_module

            def exec_module(module):
                del loader.exec_module
                _load(load, module)
                try:
                    adapt(module)
                except Exception:
                    pass  # a Dask unlike those we know runs as it is

            loader.exec_module = exec_module
        except Exception:
            pass
        return spec


def _hand_on():
    """Import the sitecustomize that Python would have found without this directory."""
    here = os.path.dirname(os.path.abspath(__file__))
    places = [entry for entry in sys.path if os.path.abspath(entry) == here]
    at = sys.path.index(places[0]) if places else 0
    for entry in places:
        sys.path.remove(entry)
    us = sys.modules.pop(__name__)
    try:
        __import__(__name__)
    except ImportError as error:
        if getattr(error, "name", __name__) != __name__:
            raise
    finally:
        sys.modules.setdefault(__name__, us)
        sys.path[at:at] = places


if os.environ.get("DTASK_ENGINE") == "dask":
    sys.meta_path.insert(0, _Finder)
if __name__ == "sitecustomize":
    _hand_on()

# SPDX-License-Identifier: Apache-2.0
"""dtask: a Slurm job step as a task cluster, from Python.

    from dtask import Client

    client = Client()                      # the cluster of this step
    futures = client.map(simulate, inputs)
    results = client.gather(futures)

The names are dask.distributed's and mean the same; ``dtask.Executor`` is a
``concurrent.futures.Executor``. Names are imported when they are first used: executors, which
need none of them, start faster.
"""

__version__ = "0.1.0"

_HOME = {
    "Client": "_client",
    "Worker": "_client",
    "Future": "_future",
    "as_completed": "_waiting",
    "wait": "_waiting",
    "Executor": "_executor_pool",
    "DtaskError": "errors",
    "ClusterLost": "errors",
    "ConnectError": "errors",
    "InitializerFailed": "errors",
    "MemoryLimitExceeded": "errors",
    "PickleError": "errors",
    "ProtocolError": "errors",
    "RemoteError": "errors",
    "RemoteTraceback": "errors",
    "NoSuitableWorker": "errors",
    "TaskTimeout": "errors",
    "TimeoutError": "errors",
    "TooLarge": "errors",
    "WorkerCrashed": "errors",
}

_MODULES = ("dask", "joblib")

__all__ = sorted(_HOME) + ["__version__"]


def __getattr__(name):
    home = _HOME.get(name)
    if home is None and name not in _MODULES:
        raise AttributeError(f"module 'dtask' has no attribute {name!r}")
    from importlib import import_module

    if home is None:
        return import_module("." + name, __name__)
    value = getattr(import_module("." + home, __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(__all__))

# SPDX-License-Identifier: Apache-2.0
"""dask_mpi without MPI: what scripts written for it call, in a step of ``srun --dtask=dask``.

The cluster is up before the script starts and only the client runs the script, so there is nothing
to bring up. Arguments that ask for something else than the step has are told in one line on stderr,
since the step's values hold.

Source of the interface: dask-mpi's documentation of ``initialize`` and ``execute``; the order of
their arguments is kept. None stands for its defaults, to tell what was given from what was not.
"""

import os
import sys

__version__ = "0+dtask"
__path__ = []  # a package for those who import dask_mpi.core

sys.modules[__name__ + ".core"] = sys.modules[__name__]


class WorldTooSmallException(RuntimeError):
    """Never raised: srun refuses a step that is too small before anything starts."""


def initialize(
    interface=None,
    nthreads=None,
    local_directory=None,
    memory_limit="auto",
    nanny=None,
    dashboard=None,
    dashboard_address=None,
    protocol=None,
    worker_class=None,
    worker_options=None,
    worker_name=None,
    comm=None,
    exit=True,
    **others,
):
    """Return True: this is the client, and its cluster is up.

    What `nanny` is for is there in any case, and `dashboard` is --dtask-dashboard. `exit` changes
    nothing, because what it is about are the processes that are not the client. Raises RuntimeError
    outside of a step of ``srun --dtask=dask``.
    """
    _tell("initialize", {**locals(), **others})
    return True


def execute(
    client_function=None,
    client_args=(),
    client_kwargs=None,
    client_rank=None,
    scheduler=True,
    scheduler_rank=None,
    scheduler_address=None,
    scheduler_port=None,
    scheduler_file=None,
    interface=None,
    nthreads=None,
    local_directory=None,
    memory_limit="auto",
    nanny=None,
    dashboard=None,
    dashboard_address=None,
    protocol=None,
    exclusive_workers=None,
    worker_class=None,
    worker_options=None,
    worker_name=None,
    comm=None,
    **others,
):
    """Call ``client_function(*client_args, **client_kwargs)`` and return its value.

    Where scheduler, client and workers are is the affair of --dtask-slots. The rest is as in
    `initialize`. Raises RuntimeError outside of a step of ``srun --dtask=dask``.
    """
    _tell("execute", {**locals(), **others})
    if callable(client_function):
        return client_function(*client_args, **(client_kwargs or {}))
    return None


def send_close_signal():
    """Nothing to do: the step ends with the client."""


# What an argument is to be compared with, or where it belongs. Those that are not in here, as
# `nanny` and `exit`, mean nothing to a step.

_OPTIONS = {  # argument: (what it may be besides None, the option that it is)
    "client_rank": ((1,), "--dtask-slots"),
    "scheduler_rank": ((0,), "--dtask-slots"),
    "exclusive_workers": ((True,), "--dtask-slots"),
    "scheduler": ((True,), None),
    "scheduler_address": ((), None),
    "scheduler_port": ((), None),
    "scheduler_file": ((), "--dtask-scheduler-file"),
    "dashboard_address": ((":8787",), "--dtask-dashboard"),
    "worker_class": (
        tuple(
            module + name
            for module in ("distributed.", "dask.distributed.")
            for name in ("Worker", "Nanny")
        ),
        None,
    ),
    "worker_options": (({},), None),
    "worker_name": ((), None),
    "comm": ((), None),
}
_MEANT = {"client_function", "client_args", "client_kwargs", "nanny", "dashboard", "exit", "others"}


def _tell(function, given):
    """Say in one line on stderr which of the arguments (a dict) differ from what the step has."""
    if os.environ.get("DTASK_ENGINE") != "dask":
        raise RuntimeError(f"dask_mpi.{function}: not in a step of srun --dtask=dask")
    told = []
    for name, value in given.items():
        if name in _MEANT or value is None:
            continue
        compare = _COMPARE.get(name)
        if compare is not None:
            difference = compare(value)
        elif name in _OPTIONS:
            usual, option = _OPTIONS[name]
            difference = None if value in usual else option or "not taken"
        else:
            difference = "unknown here"
        if difference:
            told.append(f"{name}={value!r} ({difference})")
    if told:
        line = f"dtask: dask_mpi.{function}: the step's own values hold, not {', '.join(told)}\n"
        sys.stderr.write(line)


def _number(name):
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else 0


def _nthreads(value):
    has = _number("DTASK_NTHREADS") or 1
    return None if value == has else f"it has {has}: --cpus-per-task"


def _memory_limit(value):
    if value == "auto":
        return None
    has = _number("DTASK_MEMORY_LIMIT")
    says = f"it has {f'{has >> 20}M' if has else 'none'}: --mem-per-cpu, --dtask-memory"
    if isinstance(value, float) and value <= 1:
        return says  # a part of the node's memory
    if isinstance(value, str):
        from dask.utils import parse_bytes

        value = parse_bytes(value)
    # Slurm's M is 1024 times 1024 bytes, and what scripts make of it is often "MB".
    return None if abs(value - has) <= 0.05 * has else says


def _interface(value):
    uses = os.environ.get("DTASK_INTERFACE_USED", "auto")
    if value in [part.split("=")[-1] for part in uses.split(",")]:
        return None
    return f"it uses {uses}: --dtask-interface"


def _protocol(value):
    uses = os.environ.get("DTASK_ADDRESS", "").split("://")[0]
    return None if value == uses else f"it uses {uses}: --dtask-tls"


def _local_directory(value):
    usual = ("", "/tmp", os.environ.get("TMPDIR"))
    return None if value.rstrip("/") in usual else "--dtask-scratch"


_COMPARE = {
    "nthreads": _nthreads,
    "memory_limit": _memory_limit,
    "interface": _interface,
    "protocol": _protocol,
    "local_directory": _local_directory,
}

# SPDX-License-Identifier: Apache-2.0
"""dask_mpi without MPI: what scripts written for it call, in a step of ``srun --dtask=dask``.

The cluster is up before the script starts, so `initialize` has nothing to bring up: it returns in
the client, and only the client runs the script. Arguments that ask for something else than the
step has are told in one line on stderr, since the step's values hold.

Source of the interface: dask-mpi's documentation of ``initialize`` and ``execute``.
"""

import os
import sys

__version__ = "0+dtask"


def _bytes(size):
    if size in (None, "auto"):
        return None
    from dask.utils import parse_bytes

    return parse_bytes(size) if isinstance(size, str) else int(size)


def _report(differences):
    if differences:
        print(
            "dtask: dask_mpi.initialize: the step's own values hold: " + "; ".join(differences),
            file=sys.stderr,
        )


def initialize(
    interface=None,
    nthreads=1,
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

    Reported where they differ from what the step has: `nthreads`, `memory_limit` (bytes or a
    string like "4GB"; more than 5 % off), and `interface`, `worker_class`, `worker_options` and
    `protocol` where they are given and do not hold. Raises RuntimeError outside of a step of
    ``srun --dtask=dask``.
    """
    if os.environ.get("DTASK_ENGINE") != "dask":
        raise RuntimeError("dask_mpi.initialize: not in a step of srun --dtask=dask")
    differences = []
    has = int(os.environ.get("DTASK_NTHREADS", "1"))
    if nthreads is not None and nthreads != has and nthreads != 1:
        differences.append(f"nthreads={nthreads}, the step has {has} (--cpus-per-task)")
    limit = int(os.environ.get("DTASK_MEMORY_LIMIT", "0"))
    asked = _bytes(memory_limit)
    if asked and limit and abs(asked - limit) > 0.05 * limit:
        differences.append(
            f"memory_limit={memory_limit}, the step has {limit >> 20}M (--mem-per-cpu, --dtask-memory)"
        )
    uses = os.environ.get("DTASK_INTERFACE_USED", "auto")
    if interface and interface != uses:
        differences.append(f"interface={interface}, the step uses {uses} (--dtask-interface)")
    for name, value in (
        ("worker_class", worker_class),
        ("worker_options", worker_options),
        ("protocol", protocol),
    ):
        if value:
            differences.append(f"{name}={value!r} is not taken")
    _report(differences)
    return True


def execute(func=None, *args, **kwargs):
    """Call ``func(*args)`` in the client and return its value; then the step ends as usual.

    Keyword arguments of `initialize` are taken as there, `exclusive_workers` is met by the slots
    of the step (--dtask-slots), and the rest goes to `func`.
    """
    own = {
        name: kwargs.pop(name)
        for name in ("interface", "nthreads", "local_directory", "memory_limit", "nanny",
                     "dashboard", "dashboard_address", "protocol", "worker_class",
                     "worker_options", "worker_name", "comm")
        if name in kwargs
    }
    kwargs.pop("exclusive_workers", None)
    initialize(**own)
    return func(*args, **kwargs) if func is not None else None


def send_close_signal():
    """Nothing to do: the step ends with the client."""

# SPDX-License-Identifier: Apache-2.0
"""The user's own Dask as a task of the step runs it: ``python3 -m dtask._dask scheduler|worker``.

The classes of `distributed` are used, not its command line: their names and the ones of their
arguments have stayed, while modules and options of the command line have moved from release to
release. Arguments that a release does not know are left out, by its own signature.

What to do is JSON in the variable DTASK_DASK; file descriptor 3 leads to the process that started
us (runtime/dask/process.h): it is told in one line of JSON once we serve, a "q" from it ends all
logging, its end of file ends us.
"""

import asyncio
import inspect
import json
import logging
import os
import sys

CHANNEL = 3


def known(cls, arguments):
    """The ones of `arguments` that `cls` or a class above it takes by name."""
    names = set()
    for base in cls.__mro__:
        if "__init__" in vars(base):
            names.update(inspect.signature(base.__init__).parameters)
    return {name: value for name, value in arguments.items() if name in names}


def place(setup):
    """Where to listen: an interface by name, or an address of the node."""
    if setup["interface"]:
        return {"interface": setup["interface"]}
    return {"host": setup["host"]}


def scheduler(setup):
    """A scheduler that listens on a free port of the address given."""
    from distributed import Scheduler

    dashboard = setup["dashboard"]
    arguments = known(
        Scheduler,
        {
            "protocol": setup["protocol"],
            "port": 0,
            "dashboard": dashboard,
            "dashboard_address": ":0" if dashboard else None,
        },
    )
    return Scheduler(**arguments, **place(setup))


def worker(setup):
    """A worker of the threads and memory given; our launcher restarts it, so there is no nanny."""
    from distributed import Worker

    arguments = known(
        Worker,
        {
            "nthreads": setup["nthreads"],
            "memory_limit": setup["memory_limit"] or 0,
            "local_directory": setup["local_directory"],
            "name": setup["name"],
            "dashboard": False,
        },
    )
    return Worker(setup["scheduler"], **arguments, **place(setup))


def dashboard_of(server):
    """Address of the server's dashboard, or an empty string."""
    port = getattr(server, "services", {}).get("dashboard")
    port = getattr(port, "port", None) or getattr(getattr(server, "http_server", None), "port", None)
    host = server.address.split("://")[-1].rsplit(":", 1)[0]
    return f"http://{host}:{port}/status" if port else ""


def on_channel():
    """What the one who started us says."""
    said = os.read(CHANNEL, 64)
    if not said:
        os._exit(0)
    logging.disable(logging.CRITICAL)  # whatever breaks from now on is the end itself
    sys.stderr = open(os.devnull, "w")


async def serve(make, setup):
    """Start the server, say where it is, and stay until it or the step ends."""
    asyncio.get_running_loop().add_reader(CHANNEL, on_channel)
    server = make(setup)
    await server
    told = {
        "address": server.address,
        "dashboard": dashboard_of(server) if setup.get("dashboard") else "",
    }
    os.write(CHANNEL, json.dumps(told).encode() + b"\n")
    await server.finished()


def main():
    """Run as the role in argv."""
    setup = json.loads(os.environ.pop("DTASK_DASK"))
    os.set_inheritable(CHANNEL, False)
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise SystemExit(
            f"dtask: --dtask=dask: {sys.executable} cannot import distributed ({error}); "
            "accepted: a Python with dask.distributed, or --dtask=native"
        )
    asyncio.run(serve({"scheduler": scheduler, "worker": worker}[sys.argv[1]], setup))
    os._exit(0)  # threads of tasks must not keep us


if __name__ == "__main__":
    main()

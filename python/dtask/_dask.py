# SPDX-License-Identifier: Apache-2.0
"""The user's own Dask as a task of the step runs it: ``python3 -m dtask._dask scheduler|worker``.

The classes of `distributed` are used, not its command line: their names and the ones of their
arguments have stayed, while modules and options of the command line have moved from release to
release. What a release has is seen from its classes and their signatures, never from its number:
an argument, method or class that it lacks is left alone (doc/dask.md).

File descriptor 3 leads to the process that started us (runtime/dask/process.h, which says what
goes over it and what our exit codes mean). `distributed` is imported before we are told what to
do, so that it loads while the rest of the step comes up.
"""

import asyncio
import inspect
import json
import logging
import os
import sys

from . import _dask_loading

CHANNEL = 3
LEFT, COME_BACK, CANNOT_LOAD = 0, 75, 78
LONGEST_LINE = 2000


class Channel:
    """Lines of JSON on a descriptor. `receive` blocks; an end of file ends the process."""

    def __init__(self, fd):
        self.fd = fd
        self._rest = b""

    def receive(self):
        """The lines that have come, at least one read's worth; maybe none is whole yet."""
        said = os.read(self.fd, 65536)
        if not said:
            os._exit(LEFT)
        *lines, self._rest = (self._rest + said).split(b"\n")
        return [json.loads(line) for line in lines]

    def say(self, **what):
        os.write(self.fd, json.dumps(what).encode() + b"\n")


def known(cls, arguments):
    """The ones of `arguments` that `cls` or a class above it takes by name."""
    names = set()
    for base in cls.__mro__:
        if "__init__" in vars(base):
            names.update(inspect.signature(base.__init__).parameters)
    return {name: value for name, value in arguments.items() if name in names}


def without_http(cls):
    """`cls` without its HTTP server, which Dask starts with and without a dashboard."""
    if not hasattr(cls, "start_http_server"):
        return cls
    return type(cls.__name__, (cls,), {"start_http_server": lambda self, *args, **kwargs: None})


def scheduler(setup):
    """A scheduler that listens on a free port of the address given, and how to tell it more."""
    import dask
    import distributed

    from . import _dask_killed, _dask_leaving

    # What Dask warns of at a restart is not so: our launcher starts them again.
    logging.getLogger("distributed.scheduler").addFilter(
        lambda record: "do not use a nanny" not in str(record.msg)
    )
    deaths = _dask_killed.Deaths()
    cls = _dask_killed.explaining(distributed.Scheduler, distributed.scheduler, deaths)
    cls = _dask_leaving.sending_away(cls, distributed.Worker)
    host, dashboard = setup["host"], setup["dashboard"]
    if not dashboard:
        cls = without_http(cls)
        dask.config.set({"distributed.scheduler.http.routes": []})
    arguments = {
        "protocol": setup["protocol"],
        "host": host,
        "port": 0,
        "dashboard": bool(dashboard),
        "dashboard_address": f"{f'[{host}]' if ':' in host else host}:0" if dashboard else None,
    }
    return cls(**known(cls, arguments)), deaths.add


def worker(setup):
    """A worker of the threads and memory given; our launcher restarts it, so there is no nanny."""
    import dask
    import distributed

    from . import _dask_leaving

    dask.config.set({"distributed.worker.http.routes": []})
    cls = without_http(_dask_leaving.remembering(distributed.Worker))
    arguments = {
        "nthreads": setup["nthreads"],
        "memory_limit": setup["memory_limit"] or 0,
        "local_directory": setup["local_directory"],
        "name": setup["name"],
        "host": setup["host"],
        "dashboard": False,
    }
    return cls(setup["scheduler"], **known(cls, arguments)), None


def dashboard_of(server):
    """Address of the server's dashboard, or an empty string."""
    port = getattr(server, "services", {}).get("dashboard")
    port = getattr(port, "port", None) or getattr(getattr(server, "http_server", None), "port", None)
    host = server.address.split("://")[-1].rsplit(":", 1)[0]
    return f"http://{host}:{port}/status" if port else ""


def be_quiet():
    """Whatever breaks from now on is the end itself."""
    logging.disable(logging.CRITICAL)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)


async def serve(make, setup, channel):
    """Start the server, say where it is, and stay until it or the step ends the process.

    No more is run once the server has finished: neither threads of tasks nor coroutines of Dask's
    that a cancellation would make complain may keep us.
    """
    died = None

    def on_channel():
        for line in channel.receive():
            if "end" in line:
                be_quiet()
            elif "died" in line and died:
                died(**line["died"])

    asyncio.get_running_loop().add_reader(channel.fd, on_channel)
    server, died = make(setup)
    await server
    dashboard = dashboard_of(server) if setup.get("dashboard") else ""
    channel.say(address=server.address, dashboard=dashboard)
    await server.finished()
    os._exit(COME_BACK if getattr(server, "comes_back", False) else LEFT)


def main():
    """Run as the role in argv."""
    role, channel = sys.argv[1], Channel(CHANNEL)
    os.set_inheritable(CHANNEL, False)
    try:
        with _dask_loading.quickly():
            import distributed

        from . import _dask_versions

        _dask_versions.without_loading(getattr(distributed, "versions", None))
    except ImportError as error:
        channel.say(
            failed=f"--dtask=dask: {sys.executable} cannot import distributed ({error}); "
            "accepted: a Python with dask.distributed, or --dtask=native"
        )
        os._exit(CANNOT_LOAD)
    lines = []
    while not lines:
        lines = channel.receive()
    try:
        make = {"scheduler": scheduler, "worker": worker}[role]
        asyncio.run(serve(make, lines[0]["serve"], channel))
    except Exception as error:
        release = getattr(distributed, "__version__", "of an unknown release")
        text = f"distributed {release} as a {role}: {type(error).__name__}: {error}"
        channel.say(failed=" ".join(text.split())[:LONGEST_LINE])
    os._exit(1)


if __name__ == "__main__":
    main()

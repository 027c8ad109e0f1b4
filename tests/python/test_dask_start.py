# SPDX-License-Identifier: Apache-2.0
"""dtask._dask as its launcher runs it, against stand-ins of `distributed`, old, new and unknown."""

import asyncio
import functools
import json
import os
import pickle
import socket
import subprocess
import sys
import textwrap

import pytest
from places import ROOT

from dtask import _dask, _dask_killed, _dask_leaving

PATIENCE = 20  # seconds
PYTHON_DIRECTORY = os.path.join(ROOT, "python")

# What every release has had: classes that are awaited, an address, `finished`.
COMMON = """
import asyncio, json, os, sys

class Server:
    def __init__(self, **arguments):
        self.arguments, self.services, self.over = arguments, {}, asyncio.Event()
        self.start_http_server(":8787")
    def start_http_server(self, address):
        self.arguments["http"] = address
    def __await__(self):
        async def start():
            return self
        return start().__await__()
    @property
    def address(self):
        return "tcp://127.0.0.1:1/" + json.dumps(self.arguments, sort_keys=True)
    async def finished(self):
        await self.over.wait()
"""
NEW = COMMON + """
class Scheduler(Server):
    def __init__(self, host=None, port=0, protocol=None, dashboard=None, dashboard_address=None):
        super().__init__(host=host, port=port, protocol=protocol, dashboard=dashboard,
                         dashboard_address=dashboard_address)

class Worker(Server):
    def __init__(self, scheduler, nthreads=None, name=None, memory_limit=None, host=None,
                 local_directory=None, dashboard=False):
        super().__init__(scheduler=scheduler, nthreads=nthreads, name=name, host=host,
                         memory_limit=memory_limit, local_directory=local_directory)
        if name in ("retired", "restarted"):
            reason = {"retired": "dtask-retired", "restarted": "scheduler-remove-worker"}[name]
            asyncio.get_running_loop().call_later(
                0.05, lambda: asyncio.ensure_future(self.close(reason=reason)))
    async def close(self, timeout=1, nanny=True, reason="worker-close"):
        self.over.set()
"""
OLD = NEW.replace(', reason="worker-close"', "").replace("self.close(reason=reason)", "self.close()")
NARROW = NEW.replace("dashboard=None, dashboard_address=None", "").replace(
    "dashboard=dashboard,", "").replace("dashboard_address=dashboard_address", "")
BROKEN = "import json, os\nraise ImportError('no half of it')\n"
RAISING = COMMON + """
class Scheduler(Server):
    def __init__(self, **kwargs):
        raise TypeError("a release\\nfrom the future")
Worker = Scheduler
"""
CONFIG = "class config:\n    @staticmethod\n    def set(values):\n        pass\n"


class Started:
    """A process of dtask._dask and our end of its channel."""

    def __init__(self, directory, role, stand_in):
        package = directory / "distributed"
        package.mkdir()
        (package / "__init__.py").write_text(textwrap.dedent(stand_in) + "\n__version__ = '1.2'\n"
                                             "from . import scheduler\n")
        (package / "scheduler.py").write_text("")
        (directory / "dask.py").write_text(CONFIG)
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(PATIENCE)
        self.process = subprocess.Popen(
            [sys.executable, "-c",
             "import os, sys; os.dup2(int(sys.argv.pop(1)), 3); "
             "os.execv(sys.executable, [sys.executable, '-m', 'dtask._dask', sys.argv[1]])",
             str(theirs.fileno()), role],
            pass_fds=[theirs.fileno()],
            env={"PYTHONPATH": f"{directory}:{PYTHON_DIRECTORY}", "PATH": "/usr/bin:/bin"},
            stderr=subprocess.PIPE,
        )
        theirs.close()
        self.lines = self.channel.makefile("r")

    def tell(self, **what):
        self.channel.sendall(json.dumps(what).encode() + b"\n")

    def hear(self):
        return json.loads(self.lines.readline())

    def arguments(self):
        return json.loads(self.hear()["address"].split("/", 3)[3])

    def end(self):
        self.lines.close()
        self.channel.close()
        error = self.process.communicate(timeout=PATIENCE)[1].decode()
        return self.process.returncode, error


@pytest.fixture
def start(tmp_path):
    started = []

    def begin(role, stand_in=NEW):
        started.append(Started(tmp_path, role, stand_in))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def scheduler_setup(**others):
    return {"protocol": "tls", "host": "10.0.0.1", "dashboard": 0, **others}


def worker_setup(**others):
    return {"scheduler": "tls://h:1", "nthreads": 4, "memory_limit": 200, "name": "n1.0",
            "local_directory": "/scratch", "host": "10.0.0.2", **others}


def test_a_scheduler_gets_its_place_and_no_http_server(start):
    process = start("scheduler")
    process.tell(serve=scheduler_setup())
    assert process.arguments() == {"host": "10.0.0.1", "port": 0, "protocol": "tls",
                                   "dashboard": False, "dashboard_address": None}
    assert process.end() == (0, "")  # our end of file is its end


def test_the_dashboard_is_at_the_address_of_the_scheduler(start):
    process = start("scheduler")
    process.tell(serve=scheduler_setup(dashboard=1, host="fd00::1"))
    arguments = process.arguments()
    assert arguments["dashboard_address"] == "[fd00::1]:0"
    assert "http" in arguments


def test_a_worker_gets_threads_limit_name_and_directory(start):
    process = start("worker")
    process.tell(serve=worker_setup())
    assert process.arguments() == {
        "scheduler": "tls://h:1", "nthreads": 4, "memory_limit": 200, "name": "n1.0",
        "local_directory": "/scratch", "host": "10.0.0.2"}


def test_arguments_that_a_release_does_not_know_are_left_out(start):
    process = start("scheduler", NARROW)
    process.tell(serve=scheduler_setup(dashboard=1))
    assert "dashboard" not in process.arguments()


def test_setup_may_come_in_pieces_and_late(start):
    process = start("worker")
    text = json.dumps({"serve": worker_setup()}).encode() + b"\n"
    process.channel.sendall(text[:10])
    process.channel.sendall(text[10:])
    assert process.arguments()["name"] == "n1.0"


@pytest.mark.parametrize(
    "name, stand_in, code",
    [("retired", NEW, 0), ("restarted", NEW, 75), ("retired", OLD, 75), ("restarted", OLD, 75)],
    ids=["retired", "restarted", "retired-old", "restarted-old"],
)
def test_exit_code_of_a_worker_that_closes(start, name, stand_in, code):
    process = start("worker", stand_in)
    process.tell(serve=worker_setup(name=name))
    process.arguments()
    assert process.process.wait(PATIENCE) == code


def test_a_python_without_distributed(start):
    process = start("worker", BROKEN)
    failed = process.hear()["failed"]
    assert "cannot import distributed (no half of it); accepted:" in failed
    assert "\n" not in failed
    assert process.process.wait(PATIENCE) == _dask.CANNOT_LOAD


def test_a_release_that_cannot_be_started_says_why_in_one_line(start):
    process = start("scheduler", RAISING)
    process.tell(serve=scheduler_setup())
    assert process.hear()["failed"] == (
        "distributed 1.2 as a scheduler: TypeError: a release from the future")
    code, error = process.end()
    assert (code, error) == (1, "")


def test_after_the_end_nothing_is_said(start):
    chatty = NEW.replace("await self.over.wait()", """await asyncio.sleep(0.3)
        import logging
        logging.error("too late")
        os.write(2, b"much too late")""")
    process = start("scheduler", chatty)
    process.tell(serve=scheduler_setup())
    process.arguments()
    process.tell(end=1)
    assert process.process.wait(PATIENCE) == 0
    assert process.end()[1] == ""


# ---- how workers died --------------------------------------------------------------------------


class KilledWorker(Exception):
    def __init__(self, task, last_worker, allowed_failures):
        super().__init__(task, last_worker, allowed_failures)

    task = property(lambda self: self.args[0])

    def __str__(self):
        return f"{self.task} was killed."


class Task:
    def __init__(self, key, suspicious):
        self.key, self.suspicious = key, suspicious


class Lost:
    def __init__(self, address, tasks):
        self.address, self.processing = address, tasks


class SchedulerOfDask:
    allowed_failures = 3

    def __init__(self):
        self.workers, self.removed = {}, []

    def coerce_address(self, address):
        return address

    async def remove_worker(self, address, *, stimulus_id="", expected=False, close=True):
        self.removed.append((address, expected, close))


class Module:
    """In place of distributed.scheduler."""

    def __init__(self):
        self.KilledWorker = KilledWorker


@pytest.fixture
def client_side(monkeypatch):
    """distributed.scheduler as the client has it, where the exception is unpickled."""
    import types

    package, module = types.ModuleType("distributed"), types.ModuleType("distributed.scheduler")
    module.KilledWorker = KilledWorker
    package.scheduler = module
    monkeypatch.setitem(sys.modules, "distributed", package)
    monkeypatch.setitem(sys.modules, "distributed.scheduler", module)


def explained(deaths):
    module = Module()
    cls = _dask_killed.explaining(SchedulerOfDask, module, deaths)
    return cls, module.KilledWorker


def test_killed_worker_says_how_the_workers_died(client_side):
    deaths = _dask_killed.Deaths()
    cls, killed = explained(deaths)
    scheduler = cls()
    scheduler.workers = {"a": Lost("a", [Task("k", 0)]), "b": Lost("b", [Task("other", 0)])}

    async def play():
        for address in ("a", "b"):
            deaths.add("n1." + address, address, "ended with signal 9 (Killed)")
            await scheduler.remove_worker(address, stimulus_id="x")

    asyncio.run(play())
    assert scheduler.removed == [("a", False, True), ("b", False, True)]
    told = pickle.loads(pickle.dumps(killed("k", "w", 3)))
    assert isinstance(told, KilledWorker) and told.args == ("k", "w", 3)
    assert str(told) == (
        "k was killed. How the workers died: n1.a ended with signal 9 (Killed).")
    assert type(told).__module__ == KilledWorker.__module__
    # Of a task whose workers' ends nobody knows, Dask's own words; and it can be sent on.
    assert str(pickle.loads(pickle.dumps(killed("unknown", "w", 3)))) == "unknown was killed."
    assert str(pickle.loads(pickle.dumps(told))) == "k was killed."


def test_a_client_without_our_package_can_read_it(client_side, tmp_path):
    deaths = _dask_killed.Deaths()
    deaths.held("a", ["k"])
    deaths.add("n", "a", "died")
    _, killed = explained(deaths)
    (tmp_path / "distributed").mkdir()
    (tmp_path / "distributed" / "__init__.py").write_text("")
    (tmp_path / "distributed" / "scheduler.py").write_text("class KilledWorker(Exception): pass\n")
    done = subprocess.run(
        [sys.executable, "-c", "import pickle, sys; print(pickle.load(sys.stdin.buffer)); "
         "assert 'dtask' not in sys.modules"],
        input=pickle.dumps(killed("k", "w", 3)),
        env={"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (0, b"('k', 'w', 3) How the workers died: n died.\n")


def test_the_last_failure_waits_for_its_reason_and_no_other(client_side):
    deaths = _dask_killed.Deaths()
    cls, killed = explained(deaths)
    scheduler = cls()

    async def play():
        loop = asyncio.get_running_loop()
        scheduler.workers = {"a": Lost("a", [Task("k", 2)]), "b": Lost("b", [Task("k", 3)])}
        began = loop.time()
        await scheduler.remove_worker("a")
        assert loop.time() - began < _dask_killed.PATIENCE / 2
        loop.call_later(0.05, deaths.add, "n", "b", "passed the limit")
        await scheduler.remove_worker("b")
        assert deaths.of("k") == ["n passed the limit"]

    asyncio.run(play())


def test_the_wait_for_a_reason_that_never_comes_is_bounded(monkeypatch):
    monkeypatch.setattr(_dask_killed, "PATIENCE", 0.05)
    deaths = _dask_killed.Deaths()
    cls, _ = explained(deaths)
    scheduler = cls()
    scheduler.workers = {"a": Lost("a", [Task("k", 3)])}
    asyncio.run(scheduler.remove_worker("a"))
    assert scheduler.removed == [("a", False, True)] and deaths.of("k") == []


def test_a_decorated_removal_is_known_too():
    # As by `log_errors` of releases in between, which is no coroutine function itself.
    @functools.wraps(SchedulerOfDask.remove_worker)
    def decorated(self, *args, **kwargs):
        return SchedulerOfDask.remove_worker(self, *args, **kwargs)

    cls = type("Scheduler", (SchedulerOfDask,), {"remove_worker": decorated})
    assert _dask_killed.explaining(cls, Module(), _dask_killed.Deaths()) is not cls


def test_only_the_last_deaths_are_kept():
    deaths = _dask_killed.Deaths()
    for n in range(3 * _dask_killed.KEPT):
        deaths.held(n, ["k"])
        deaths.add("n", n, "died")
    assert len(deaths.of("k")) == _dask_killed.KEPT


def test_an_unknown_release_keeps_its_own_message():
    deaths = _dask_killed.Deaths()
    for change in (
        {"remove_worker": None},
        {"remove_worker": lambda self, address: None},
        {},
    ):
        cls = type("Scheduler", (SchedulerOfDask,), change)
        module = Module()
        if not change:
            module.KilledWorker = type("KilledWorker", (Exception,), {})
        before = module.KilledWorker
        assert _dask_killed.explaining(cls, module, deaths) is cls
        assert module.KilledWorker is before
    assert _dask_killed.explaining(SchedulerOfDask, object(), deaths) is SchedulerOfDask


# ---- workers that leave ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason, nanny, back",
    [
        ("scheduler-remove-worker", True, True),  # Client.restart, and lost contact
        ("worker-handle-scheduler-connection-broken", True, True),
        ("something new", True, True),
        (_dask_leaving.RETIRED, True, False),
        ("scheduler-close-worker", True, False),
        ("scheduler-close", True, False),
        ("worker-lifetime-reached", True, False),
        ("worker-lifetime-reached", False, True),
    ],
)
def test_which_workers_come_back(reason, nanny, back):
    assert _dask_leaving.comes_back(reason, nanny) is back


def test_a_retired_worker_is_told_so_first():
    class WithReasons:
        async def close(self, reason=""):
            pass

    class Comm(list):
        send = list.append

    scheduler = _dask_leaving.sending_away(SchedulerOfDask, WithReasons)()
    scheduler.stream_comms = {"a": Comm(), "b": Comm()}
    asyncio.run(scheduler.remove_worker("a", expected=True))
    asyncio.run(scheduler.remove_worker("b"))
    asyncio.run(scheduler.remove_worker("b", expected=True, close=False))
    asyncio.run(scheduler.remove_worker("gone", expected=True))
    assert scheduler.stream_comms["a"] == [{"op": "close", "reason": _dask_leaving.RETIRED}]
    assert scheduler.stream_comms["b"] == []
    # Dask does not say it a second time.
    assert scheduler.removed == [
        ("a", True, False), ("b", False, True), ("b", True, False), ("gone", True, True)]
    assert _dask_leaving.sending_away(SchedulerOfDask, SchedulerOfDask) is SchedulerOfDask

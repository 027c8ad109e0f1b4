# SPDX-License-Identifier: Apache-2.0
"""What stands on the path of a client of the engine dask: sitecustomize and dask_mpi.

Each case is a Python of its own, with stand-ins for dask and distributed as small as can be, and
some with the Dask that is installed.
"""

import os
import subprocess
import sys
import textwrap
import zipfile
from importlib.util import find_spec

import pytest
from places import ROOT

SHIMS = os.path.join(ROOT, "python", "dtask", "_shims")
ADDRESS = "tls://127.0.0.1:8786"

DASK = {
    "dask/__init__.py": "from . import config",
    "dask/config.py": """
        import os
        def get(key, default=None):
            return os.environ.get("DASK_" + key.upper().replace("-", "_"), default)
    """,
    "dask/utils.py": """
        def parse_bytes(text):
            units = {"MB": 10**6, "GB": 10**9, "MiB": 2**20}
            return next(int(text[:-len(u)]) * n for u, n in units.items() if text.endswith(u))
    """,
    "distributed/__init__.py": "from .client import Client",
    "distributed/client.py": """
        class Client:
            def __init__(self, address=None, loop=None, timeout=None, set_as_default=True,
                         scheduler_file=None, security=None, asynchronous=False, name=None,
                         **kwargs):
                self.got = dict(locals())
                for own in ("self", "loop", "timeout", "set_as_default", "asynchronous"):
                    del self.got[own]
                print({name: value for name, value in self.got.items() if value})
    """,
}


class Site:
    """A Python that has the shims first and a directory of its own after them."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{SHIMS}{os.pathsep}{self.folder}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "DTASK_ENGINE": "dask",
            "DTASK_ADDRESS": ADDRESS,
            "DASK_SCHEDULER_ADDRESS": ADDRESS,
            "DTASK_NTHREADS": "4",
            "DTASK_MEMORY_LIMIT": str(8000 << 20),
            "DTASK_INTERFACE_USED": "auto",
        }
        self.err = ""

    def write(self, files):
        for name, text in files.items():
            path = os.path.join(self.folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(textwrap.dedent(text))

    def run(self, script, **environment):
        """Run a script that must succeed; the lines of its output. Its stderr stays in err."""
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=60,
        )
        self.err = done.stderr
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def told(self):
        """The only line on stderr."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    site.write(DASK)
    return site


# sitecustomize: the Client.


@pytest.mark.parametrize(
    "arguments, got, left_out",
    [
        ("", {}, None),
        ("n_workers=4, threads_per_worker=2", {}, "n_workers, threads_per_worker"),
        ("processes=False, name='mine'", {"name": "mine"}, "processes"),
        ("security=True", {}, "security"),
        ("None, None", {}, None),
        (
            "scheduler_file='7.sched', nthreads=1, local_directory='/tmp', memory_limit='9MB'",
            {},
            "nthreads, local_directory, memory_limit, scheduler_file",
        ),
        ("'tcp://elsewhere:1'", {"address": "tcp://elsewhere:1"}, None),
        (
            "address='tcp://elsewhere:1', security='own'",
            {"address": "tcp://elsewhere:1", "security": "own"},
            None,
        ),
    ],
)
def test_a_client_without_an_address_takes_the_step(site, arguments, got, left_out):
    assert site.run(f"from distributed import Client; Client({arguments})") == [str(got)]
    if left_out is None:
        assert site.err == ""
    else:
        assert site.told() == (
            f"dtask: Client() uses the cluster of the step; not taken: {left_out}"
        )


def test_every_name_of_the_class_is_adapted(site):
    site.write({"dask/distributed.py": "from distributed import *\nfrom distributed import Client"})
    out = site.run(
        """
        from distributed.client import Client
        import dask.distributed
        Client(n_workers=1)
        class Mine(dask.distributed.Client):
            pass
        Mine(processes=True)
        """
    )
    assert out == ["{}", "{}"] and len(site.err.splitlines()) == 2


def test_a_scheduler_file_of_this_step_is_not_worth_a_line(site):
    site.write({"ours.json": f'{{"address": "{ADDRESS}"}}'})
    site.write({"stale.json": '{"address": "tcp://a:1"}'})
    assert site.run("from distributed import Client; Client(scheduler_file='ours.json')") == ["{}"]
    assert site.err == ""
    assert site.run("from distributed import Client; Client(scheduler_file='stale.json')") == ["{}"]
    assert site.told().endswith("not taken: scheduler_file")


def test_wrong_arguments_are_dasks_affair(site):
    out = site.run(
        """
        from distributed import Client
        try:
            Client(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
        except TypeError as error:
            print(error)
        """
    )
    assert "positional arguments" in out[0] and site.err == ""


def test_without_a_cluster_of_the_step_nothing_is_adapted(site):
    script = "from distributed import Client; Client(n_workers=4)"
    whole = ["{'kwargs': {'n_workers': 4}}"]
    assert site.run(script, DTASK_ENGINE="native") == whole
    assert site.run(script, DTASK_ENGINE="") == whole
    assert site.run(script, DASK_SCHEDULER_ADDRESS="") == whole
    assert site.err == ""


@pytest.mark.parametrize(
    "package",
    [
        "print('no Client')",
        "class Client:\n    pass\nprint('no __init__')",
        "def Client(): pass\nprint('a function')",
        "def __getattr__(name): raise RuntimeError(name)\nprint('raises')",
        "class Client:\n    def __init__(self, where): pass\nprint('other arguments')",
    ],
)
def test_a_dask_unlike_the_known_runs_as_it_is(site, package):
    site.write({"distributed/__init__.py": package})
    assert len(site.run("import distributed")) == 1
    assert site.err == ""


def test_a_dask_that_fails_to_load_says_so_itself(site):
    site.write({"distributed/__init__.py": "raise ImportError('no tornado')"})
    out = site.run(
        """
        for _ in range(2):
            try:
                import distributed
            except ImportError as error:
                print(error)
        """
    )
    assert out == ["no tornado"] * 2 and site.err == ""


def test_no_dask(site):
    os.remove(os.path.join(site.folder, "distributed", "__init__.py"))
    os.remove(os.path.join(site.folder, "distributed", "client.py"))
    os.rmdir(os.path.join(site.folder, "distributed"))
    out = site.run(
        """
        import importlib.util, sys
        sys.path[:] = [path for path in sys.path if "dist-packages" not in path]
        sys.path[:] = [path for path in sys.path if "site-packages" not in path]
        try:
            import distributed
        except ImportError as error:
            print(error.name)
        print(importlib.util.find_spec("distributed"))
        """
    )
    assert out == ["distributed", "None"]


def test_a_dask_in_a_zip_file(site):
    archive = os.path.join(site.folder, "all.zip")
    with zipfile.ZipFile(archive, "w") as file:
        for name, text in DASK.items():
            file.writestr(name, textwrap.dedent(text))
    path = f"{SHIMS}{os.pathsep}{archive}"
    script = "import os; os.chdir('/')\nfrom distributed import Client; Client()"
    assert site.run(script, PYTHONPATH=path) == ["{}"]


@pytest.mark.skipif(find_spec("distributed") is None, reason="no dask.distributed")
def test_versions_are_told_without_loading(tmp_path):
    site = Site(tmp_path)  # with the Dask that is installed
    told = """
        import sys, distributed
        from distributed.versions import get_package_info, optional_packages, required_packages
        found = get_package_info(required_packages + optional_packages + ["sched", "not_there"])
        print(sorted(found.items(), key=str))
        print("pandas" in sys.modules)
    """
    path = os.path.join(ROOT, "python")
    adapted = site.run(told, PYTHONPATH=f"{SHIMS}{os.pathsep}{path}")
    original = site.run(told, PYTHONPATH="")
    assert adapted[0] == original[0]
    assert adapted[1] == "False"


def test_the_start_costs_nothing(site):
    script = "import sys; print(*sorted(sys.modules))"
    plain = site.run(script, PYTHONPATH="", PYTHONSAFEPATH="1")[0].split()
    with_shims = site.run(script, PYTHONPATH=SHIMS, PYTHONSAFEPATH="1")[0].split()
    assert set(with_shims) - set(plain) <= {"sitecustomize"}


# sitecustomize: dask_jobqueue.


RUNNER = {
    "distributed/core.py": """
        import enum
        class Status(enum.Enum):
            created, running, closed = range(3)
    """,
    "dask_jobqueue/__init__.py": "from .slurm import SLURMRunner",
    "dask_jobqueue/slurm.py": """
        import asyncio, enum
        class Role(enum.Enum):
            worker, scheduler, client = range(3)
        class SLURMRunner:
            def __init__(self, scheduler_file="x", scheduler_options=None, worker_options=None,
                         worker_class=None):
                self.scheduler_file = scheduler_file
                asyncio.run(self._start())
            async def _start(self):
                raise RuntimeError("would start a scheduler")
            async def _close(self):
                raise RuntimeError("would end the scheduler")
            def __enter__(self):
                return self
            def __exit__(self, *_):
                asyncio.run(self._close())
    """,
}


def test_a_slurm_runner_is_the_clients_end(site):
    site.write(RUNNER)
    script = """
        from dask_jobqueue.slurm import SLURMRunner
        with SLURMRunner({}) as runner:
            print(runner.scheduler_address, runner.n_workers, runner.status.name, runner.role.name)
        print(runner.status.name)
    """
    site.environment["DTASK_NWORKERS"] = "7"
    out = [ADDRESS + " 7 running client", "closed"]
    assert site.run(script.format("scheduler_file='s-{job_id}.json'")) == out and site.err == ""
    assert site.run(script.format("worker_options={'nthreads': 1}, worker_class='mine'")) == out
    assert site.told() == (
        "dtask: SLURMRunner() uses the cluster of the step; not taken: worker_options, worker_class"
    )


@pytest.mark.parametrize(
    "without", ["class SLURMRunner: pass\nRole = None", "SLURMRunner = None", ""]
)
def test_a_jobqueue_unlike_the_known_runs_as_it_is(site, without):
    site.write({**RUNNER, "dask_jobqueue/__init__.py": "", "dask_jobqueue/slurm.py": without})
    assert site.run("import dask_jobqueue.slurm; print('runs')") == ["runs"] and site.err == ""


# sitecustomize: the user's own.


def test_the_users_own_sitecustomize_runs(site):
    site.write(
        {
            "sitecustomize.py": """
                import sys
                sys.path.append("/added/by/it")
                here = True
            """
        }
    )
    out = site.run(
        f"""
        import sitecustomize, sys
        print(sitecustomize.here, sitecustomize.__file__)
        print(sys.path.index({SHIMS!r}) < sys.path.index({site.folder!r}))
        print("/added/by/it" in sys.path)
        from distributed import Client
        Client(n_workers=1)
        """
    )
    assert out == [f"True {site.folder}/sitecustomize.py", "True", "True", "{}"]


def test_an_error_of_the_users_own_is_told_as_ever(site):
    site.write({"sitecustomize.py": "raise ValueError('of mine')"})
    assert site.run("from distributed import Client; Client(n_workers=1)") == ["{}"]
    assert "ValueError: of mine" in site.err and "not taken: n_workers" in site.err
    site.write({"sitecustomize.py": "import not_there"})
    assert site.run("from distributed import Client; Client()") == ["{}"]
    assert "not_there" in site.err


# dask_mpi.


def test_dask_mpi_where_all_is_as_asked(site):
    out = site.run(
        f"""
        from dask_mpi import initialize
        print(initialize())
        print(initialize(nthreads=4, memory_limit="8000MiB", local_directory="/tmp", nanny=True))
        print(initialize("auto", 4, "/tmp/", {8000 << 20}, False, True, ":8787", "tls",
                         "distributed.Nanny", {{}}, None, None, False))
        import dask_mpi, dask_mpi.core
        from dask_mpi.core import send_close_signal
        print(send_close_signal(), issubclass(dask_mpi.WorldTooSmallException, Exception))
        """
    )
    assert out == ["True", "True", "True", "None True"] and site.err == ""


def test_what_the_page_asks_for_is_near_enough(site):
    """Slurm's M is 1024 times 1024 bytes, the scripts' MB is not."""
    site.run("import dask_mpi; dask_mpi.initialize(nthreads=4, memory_limit='8000MB')")
    assert site.err == ""


@pytest.mark.parametrize(
    "arguments, told",
    [
        ("interface='ib0'", "interface='ib0' (it uses auto: --dtask-interface)"),
        ("nthreads=1", "nthreads=1 (it has 4: --cpus-per-task)"),
        (
            "memory_limit='2GB'",
            "memory_limit='2GB' (it has 8000M: --mem-per-cpu, --dtask-memory)",
        ),
        ("memory_limit=0.5", "memory_limit=0.5 (it has 8000M: --mem-per-cpu, --dtask-memory)"),
        ("local_directory='/data'", "local_directory='/data' (--dtask-scratch)"),
        ("protocol='tcp'", "protocol='tcp' (it uses tls: --dtask-tls)"),
        ("dashboard_address=':1'", "dashboard_address=':1' (--dtask-dashboard)"),
        ("worker_class='mine.Worker'", "worker_class='mine.Worker' (not taken)"),
        ("worker_options={'a': 1}", "worker_options={'a': 1} (not taken)"),
        ("bokeh_port=1", "bokeh_port=1 (unknown here)"),
        (
            "'ib0', 2",
            "interface='ib0' (it uses auto: --dtask-interface), "
            "nthreads=2 (it has 4: --cpus-per-task)",
        ),
    ],
)
def test_what_the_step_has_otherwise_is_told_in_one_line(site, arguments, told):
    assert site.run(f"import dask_mpi; print(dask_mpi.initialize({arguments}))") == ["True"]
    assert site.told() == f"dtask: dask_mpi.initialize: the step's own values hold, not {told}"


def test_the_interfaces_of_the_step(site):
    script = "import dask_mpi; dask_mpi.initialize(interface='ib0')"
    site.run(script, DTASK_INTERFACE_USED="sched=eth0,worker=ib0")
    assert site.err == ""
    site.run(script, DTASK_INTERFACE_USED="ib0")
    assert site.err == ""
    site.run(script, DTASK_INTERFACE_USED="sched=ib1,worker=eth0")
    assert "it uses sched=ib1,worker=eth0" in site.told()


def test_no_memory_limit(site):
    script = "import dask_mpi; dask_mpi.initialize(memory_limit={!r})"
    site.run(script.format("2GB"), DTASK_MEMORY_LIMIT="0")
    assert "it has none" in site.told()
    site.run(script.format(0), DTASK_MEMORY_LIMIT="0")
    assert site.err == ""


def test_execute(site):
    out = site.run(
        """
        import dask_mpi
        def main(*args, **kwargs):
            print(args, kwargs)
            return 5
        print(dask_mpi.execute(main, (1, 2), {"x": 3}))
        print(dask_mpi.execute(main, client_args=["one"], nthreads=4, exclusive_workers=True))
        print(dask_mpi.execute())
        try:
            dask_mpi.execute(int, ("no number",))
        except ValueError as error:
            print("raised", error)
        """
    )
    assert out[:5] == ["(1, 2) {'x': 3}", "5", "('one',) {}", "5", "None"]
    assert out[5].startswith("raised invalid literal") and site.err == ""
    arguments = "int, client_rank=0, scheduler_file='a', nthreads=2"
    site.run(f"import dask_mpi; dask_mpi.execute({arguments})")
    assert site.told() == (
        "dtask: dask_mpi.execute: the step's own values hold, not client_rank=0 (--dtask-slots), "
        "scheduler_file='a' (--dtask-scheduler-file), nthreads=2 (it has 4: --cpus-per-task)"
    )


def test_outside_of_a_step_dask_mpi_refuses(site):
    out = site.run(
        """
        import dask_mpi
        for call in dask_mpi.initialize, dask_mpi.execute:
            try:
                call()
            except RuntimeError as error:
                print(error)
        """,
        DTASK_ENGINE="native",
    )
    assert out == [
        "dask_mpi.initialize: not in a step of srun --dtask=dask",
        "dask_mpi.execute: not in a step of srun --dtask=dask",
    ]

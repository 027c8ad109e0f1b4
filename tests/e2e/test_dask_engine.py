# SPDX-License-Identifier: Apache-2.0
"""The user's own Dask through `dtask run --engine=dask`: no Slurm, no cgroups, all else the same."""

import json
import os
import re
import signal
import stat

import pytest
from clusters import Cluster, wait_for

pytestmark = pytest.mark.e2e
pytest.importorskip("distributed")

START = """
import os, sys, time
from distributed import Client
from distributed.scheduler import KilledWorker

def die():
    os._exit(9)

client = Client()
client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=60)
"""
LIMIT = 120  # seconds
HOLD = """
print("file", os.environ["DTASK_SCHEDULER_FILE"], flush=True)
while not os.path.exists("go"):
    time.sleep(0.02)
"""


def run(cluster, script, *options, **keywords):
    """Run a script that begins as START does; the exit code."""
    return cluster.run(START + script, "--engine=dask", *options, seconds=LIMIT, **keywords)


# Dask's client says this where the machine is too busy for it to say goodbye at its end.
LATE_GOODBYE = re.compile(
    "Future exception was never retrieved\nfuture: .*TimeoutError.*\n.*TimeoutError: .*\n"
)


def said(cluster):
    """What was said, but for that."""
    return LATE_GOODBYE.sub("", cluster.err)


def test_client_connects_over_tls_and_nothing_is_said(cluster):
    code = run(
        cluster,
        """
print(client.scheduler.address.split("://")[0], client.submit(pow, 2, 5).result(60))
print(sorted(w["name"].split(".")[-1] for w in client.scheduler_info()["workers"].values()))
""",
    )
    assert (code, said(cluster), cluster.out) == (0, "", "tls 32\n['1', '2']\n")


def test_the_exit_code_is_the_clients(cluster):
    assert run(cluster, "sys.exit(3)") == 3
    assert said(cluster) == ""


def test_workers_that_die_are_told_and_restarted(cluster):
    code = run(
        cluster,
        """
try:
    client.submit(die).result(60)
except KilledWorker as error:
    print(error)
print(client.submit(pow, 2, 5).result(60))
""",
    )
    assert code == 0, cluster.err
    assert cluster.out.count("ended with exit code 9") == 4 and cluster.out.endswith("32\n")
    assert cluster.err.count("its Dask worker ended with exit code 9; it is restarted") == 4
    assert "Traceback" not in cluster.err


def test_a_worker_that_dies_too_often_is_given_up(cluster):
    script = """
try:
    client.submit(die).result(5)
except Exception as error:
    print(type(error).__name__)
"""
    assert run(cluster, script, "--restarts=0", tasks=2) == 0
    assert "Timeout" in cluster.out
    assert re.search(
        r"task 1 on \S+ cannot serve: its Dask worker ended with exit code 9; "
        r"it was restarted 0 times already \(--dtask-restarts\)\n",
        cluster.err,
    )


def test_a_client_has_time_to_see_that_the_cluster_is_lost(cluster):
    cluster.start(
        START
        + """
print("ready", flush=True)
while client.status == "running":
    time.sleep(0.02)
print("seen", flush=True)
os._exit(0)
""",
        "--engine=dask",
    )
    cluster.line(LIMIT)
    (victim,) = cluster.processes("dtask._dask", "scheduler")
    os.kill(victim, signal.SIGKILL)
    assert cluster.finish(LIMIT) == 70  # not the client's 0
    assert "seen" in cluster.out
    assert cluster.err.count("Dask's scheduler ended with signal 9") >= 1
    cluster.check_clean()


def test_the_scheduler_file_of_a_running_cluster_is_not_taken(cluster, tmp_path_factory):
    option = "--scheduler-file=one.sched"
    cluster.start(START + HOLD, "--engine=dask", option, tasks=2)
    path = cluster.line(LIMIT).split()[1]
    content = json.loads(open(path, encoding="utf-8").read())
    assert content["type"] == "Scheduler" and content["address"].startswith("tls://")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    other = Cluster(tmp_path_factory.mktemp("other"))
    try:
        code = other.run(START, "--engine=dask", f"--scheduler-file={path}", tasks=2, seconds=LIMIT)
    finally:
        other.close()
    assert code == 2
    assert re.fullmatch(
        rf"dtask: scheduler: --dtask-scheduler-file: {re.escape(path)} is of step 0\.\d+, "
        r"which is running on \S+; accepted: a name of its own, as %J makes one\n",
        other.err,
    )
    assert json.loads(open(path, encoding="utf-8").read()) == content
    cluster.write("", "go")
    assert cluster.finish(LIMIT) == 0
    wait_for("the file's end", lambda: not os.path.exists(path), 10)
    cluster.check_clean()


def test_a_file_that_is_no_scheduler_file_is_not_overwritten(cluster):
    path = cluster.write("precious\n", "notes.txt")
    assert run(cluster, "", "--scheduler-file=notes.txt", tasks=2) == 2
    assert "notes.txt exists and is no scheduler file: it is not overwritten" in cluster.err
    assert open(path, encoding="utf-8").read() == "precious\n"


def test_a_python_without_distributed_is_told_in_one_line(cluster):
    cluster.write("raise ImportError('not here')", "distributed.py")
    code = run(cluster, "", PYTHONPATH=cluster.folder)
    assert code == 2
    assert re.fullmatch(r"dtask: .* cannot import distributed \(not here\); accepted: .*\n", cluster.err)

# SPDX-License-Identifier: Apache-2.0
"""How a dtask.Executor ends: shut down, dropped, forked, broken, and with Python or its cluster.

As in test_executor_contract.py.
"""

import concurrent.futures as cf
import gc
import os
import signal
import subprocess
import sys

import pytest
from calls import (
    LONG,
    Unpicklable,
    big,
    crash,
    get_state,
    initialize_badly,
    nap,
    set_state,
    wait_for_file,
)
from clusters import Cluster, wait_for
from places import ROOT

import dtask

pytestmark = pytest.mark.usefixtures("on_cluster")


def python(script, *options):
    """Run a script of its own; (standard output, standard error)."""
    path = [os.path.join(ROOT, "python"), os.path.join(ROOT, "tests", "python")]
    done = subprocess.run(
        [sys.executable, *options, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    return done.stdout, done.stderr


# Shutdown.


def test_no_call_after_shutdown():
    pool = dtask.Executor()
    pool.shutdown()
    pool.shutdown()
    for call in (lambda: pool.submit(pow, 2, 5), lambda: pool.map(pow, [2], [5])):
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            call()


def test_shutdown_waits():
    pool = dtask.Executor()
    futures = [pool.submit(nap, 0.01, x) for x in range(50)]
    pool.map(str, [2] * 3)
    pool.shutdown()
    assert all(future.done() for future in futures)
    assert [future.result(0) for future in futures] == list(range(50))
    assert pool._client._session.lost, "its own client was closed"


def test_context_manager():
    with dtask.Executor() as pool:
        results = pool.map(abs, range(-5, 5))
    assert list(results) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError):
        pool.submit(abs, 1)


def test_shutdown_cancels_on_demand(tmp_path):
    pool = dtask.Executor()
    finished = pool.submit(abs, -1)
    assert finished.result(LONG) == 1
    futures = [pool.submit(wait_for_file, tmp_path / "never") for _ in range(50)]
    pool.shutdown(cancel_futures=True)
    assert finished.result(0) == 1 and all(future.cancelled() for future in futures)


def test_shutdown_without_waiting(tmp_path):
    pool = dtask.Executor()
    session = pool._client._session
    results = pool.map(wait_for_file, [tmp_path / "go"] * 10, range(10))
    pool.shutdown(wait=False)
    assert not session.lost
    (tmp_path / "go").touch()
    assert list(results) == list(range(10))
    wait_for("the end of its client", lambda: session.lost, LONG)


def test_shutdown_right_after_a_cancel():
    pool = dtask.Executor(max_workers=1)
    assert pool.submit(int).result(LONG) == 0
    pool.submit(int).cancel()
    pool.shutdown(wait=True)


def test_shutdown_in_a_callback_is_refused_where_it_would_wait(pool, tmp_path):
    held = pool.submit(wait_for_file, tmp_path / "go")
    raised = []

    def callback(_):
        try:
            pool.shutdown()
        except RuntimeError as error:
            raised.append(str(error))

    first = pool.submit(wait_for_file, tmp_path / "first")
    first.add_done_callback(callback)
    (tmp_path / "first").touch()
    wait_for("the callback", lambda: raised, LONG)
    assert "callback" in raised[0]
    (tmp_path / "go").touch()
    held.result(LONG)


def test_a_crash_after_shutdown():
    with dtask.Executor() as pool:
        future = pool.submit(crash)
        pool.shutdown(wait=True)
        with pytest.raises(dtask.WorkerCrashed):
            future.result(0)


def test_large_results_outlive_the_pool():
    with dtask.Executor() as pool:
        future = pool.submit(big, 3)
        dropped = pool.submit(big, 4)
    session = pool._client._session
    assert future.result(LONG) == big(3)
    del dropped
    wait_for("the end of its client", lambda: session.lost, LONG)
    assert future.result(0) == big(3)


def test_a_pool_that_nobody_has():
    pool = dtask.Executor()
    session = pool._client._session
    results = pool.map(nap, [0.01] * 6, range(6))
    del pool
    assert list(results) == list(range(6))
    del results
    gc.collect()
    wait_for("the end of its client", lambda: session.lost, LONG)


EXIT = """
import dtask, functions
pool = dtask.Executor()
future = pool.submit(functions.{function})
future.add_done_callback(lambda one: print(one.result(), flush=True))
{end}
"""


@pytest.mark.parametrize("end", ["", "pool.shutdown(wait=False)", "del pool, future"])
def test_the_end_of_python_waits_for_the_work(end):
    out, err = python(EXIT.format(function="slow_apple", end=end))
    assert (out.strip(), err) == ("apple", "")


def test_the_end_of_python_with_cancelled_work():
    out, err = python(
        "import dtask, time\n"
        "pool = dtask.Executor()\n"
        "futures = [pool.submit(time.sleep, 600) for _ in range(5)]\n"
        "pool.shutdown(wait=False, cancel_futures=True)\n"
    )
    assert (out, err) == ("", "")


def test_no_call_at_the_end_of_python():
    out, err = python(
        "import atexit\n"
        "@atexit.register\n"
        "def run_last():\n"
        "    try:\n"
        "        pool.submit(id, None)\n"
        "    except RuntimeError:\n"
        "        print('runtime-error')\n"
        "        raise\n"
        "import dtask\n"
        "pool = dtask.Executor()\n"
        "pool.submit(id, 42).result()\n"
    )
    assert out.strip() == "runtime-error"
    assert "RuntimeError: cannot schedule new futures after interpreter shutdown" in err


def test_fork(pool):
    assert pool.submit(abs, -1).result(LONG) == 1
    child = os.fork()
    if child == 0:
        code = 1
        try:
            try:
                pool.submit(abs, -1)
            except cf.BrokenExecutor as error:
                if "forked" in str(error):
                    code = 2
            pool.shutdown()
            with dtask.Executor() as own:
                if own.submit(abs, -2).result(LONG) == 2:
                    code += 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert pool.submit(abs, -3).result(LONG) == 3, "the parent's works on"


# Initializers, and pools that break.


def test_initializer():
    with dtask.Executor(initializer=set_state, initargs=("set",)) as pool:
        found = [pool.submit(get_state, 0.05) for _ in range(6)]
        assert {one.result(LONG)[0] for one in found} == {"set"}
        assert {value for value, _ in pool.map(get_state, [0] * 4, chunksize=2)} == {"set"}
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result(LONG)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        dtask.Executor(initializer=3)


def test_initializers_are_their_pools_own():
    with dtask.Executor() as pool, dtask.Executor(initializer=set_state, initargs=("mine",)) as own:
        assert {value for value, _ in own.map(get_state, [0] * 4)} == {"mine"}
        assert all(isinstance(value, str) for value, _ in pool.map(get_state, [0] * 4))


def test_a_failing_initializer_breaks_its_pool(pool):
    broken = dtask.Executor(initializer=initialize_badly)
    assert broken._broken is False
    futures = [broken.submit(get_state)]
    try:
        futures += [broken.submit(get_state) for _ in range(4)]
    except dtask.InitializerFailed:
        pass  # the first one was quick
    for future in futures:
        with pytest.raises(cf.BrokenExecutor, match="the initializer of the pool failed.*not here"):
            future.result(LONG)
    wait_for("the break", lambda: broken._broken, LONG)
    with pytest.raises(cf.BrokenExecutor, match="not here"):
        broken.submit(get_state)
    with pytest.raises(dtask.InitializerFailed):
        broken.map(get_state, [0])
    broken.shutdown()
    assert pool.submit(abs, -1).result(LONG) == 1, "others are not"
    with pytest.raises(dtask.PickleError, match="initializer"):
        dtask.Executor(initializer=print, initargs=(Unpicklable(),))


def test_a_cluster_that_is_lost(tmp_path):
    other = Cluster(tmp_path)
    try:
        where, token = other.serve(2, LONG)
        pool = dtask.Executor(client=dtask.Client(where, token))
        futures = [pool.submit(nap, LONG) for _ in range(3)]
        other.process.kill()
        for pid in other.processes():
            os.kill(pid, signal.SIGKILL)
        errors = [future.exception(LONG) for future in futures]
        assert all(isinstance(error, cf.BrokenExecutor) for error in errors)
        assert all(isinstance(error, dtask.ClusterLost) for error in errors)
        assert len(set(map(id, errors))) == 3, "each its own"
        with pytest.raises(cf.BrokenExecutor):
            pool.submit(abs, 1)
        pool.shutdown()
    finally:
        other.close()


def test_processes_are_used_again(pool):
    assert len({pool.submit(os.getpid).result(LONG) for _ in range(10)}) <= 2

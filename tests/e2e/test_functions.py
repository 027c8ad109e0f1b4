# SPDX-License-Identifier: Apache-2.0
"""What functions do, and what comes of it, through `dtask run`."""

import json
import re
import time

import pytest

pytestmark = pytest.mark.e2e

START = """
import json, os, signal, sys, time
import dtask
client = dtask.Client()
client.wait_for_workers(timeout=30)
"""


def run(cluster, script, *options, **keywords):
    """Run a script that begins as START does and must succeed."""
    code = cluster.run(START + script, *options, **keywords)
    assert code == 0, f"exit code {code}\n{cluster.out}\n{cluster.err}"
    return cluster.out


def test_map(cluster):
    out = run(
        cluster,
        """
futures = client.map(lambda x, y: x * y, range(1000), range(1000))
print(sum(client.gather(futures)) == sum(x * x for x in range(1000)))
total = client.submit(sum, client.map(pow, range(10), [2] * 10))
print(total.result())
with dtask.Executor() as pool:
    print(sum(pool.map(abs, range(-5, 5), chunksize=3)), pool._max_workers)
""",
    )
    assert out == "True\n285\n25 2\n"


def test_many_large_results(cluster):
    """They are read from files; one that is not there any more comes from its worker or is made anew."""
    out = run(
        cluster,
        """
import glob
futures = client.map(lambda n: bytes([n]) * 300_000, range(60))
dtask.wait(futures)
number = futures[7]._remote.place[0]
for path in glob.glob(f"/dev/shm/dtask-*/{number}") + glob.glob(f"/tmp/dtask-*/store/{number}"):
    if os.stat(path).st_uid == os.geteuid() and os.path.getsize(path) < 400_000:
        with open(path, "rb") as file:
            if bytes([7]) * 300_000 in file.read():
                os.unlink(path)
print(client.gather(futures) == [bytes([n]) * 300_000 for n in range(60)])
print(client.submit(lambda: os.environ["MALLOC_TRIM_THRESHOLD_"]).result())
""",
        "--memory=512M",
    )
    assert out == f"True\n{32 << 20}\n"


def test_workers(cluster):
    run(
        cluster,
        """
for worker in client.workers():
    print("worker", json.dumps(worker._asdict()))
print("environment", os.environ["DTASK_NWORKERS"], os.environ["DTASK_ENGINE"])
""",
        tasks=4,
    )
    lines = [line for line in cluster.out.splitlines() if line.startswith("worker ")]
    workers = [json.loads(line[7:]) for line in lines]
    assert len(workers) == 3 and len({worker["name"] for worker in workers}) == 3
    assert all(worker["nthreads"] == 1 and worker["node"] for worker in workers)
    assert all(worker["concurrency"] == 1 for worker in workers)
    assert cluster.field("environment") == "3 native"


def test_exceptions(cluster):
    run(
        cluster,
        """
class Mine(Exception):
    pass
def inner(x):
    raise Mine("no", x)
try:
    client.submit(inner, 5).result(30)
except Mine as error:
    print("args", *error.args)
    print("trace", "in inner" in str(error.__cause__), "raise Mine" in str(error.__cause__))
for function, args in ((sys.exit, (3,)), (exec, ("raise KeyboardInterrupt",))):
    try:
        client.submit(function, *args).result(30)
    except dtask.RemoteError as error:
        print("remote", error)
print("after", client.submit(abs, -1).result(30))
""",
    )
    assert cluster.field("args") == "no 5" and cluster.field("trace") == "True True"
    assert "raised SystemExit: 3" in cluster.out and "raised KeyboardInterrupt" in cluster.out
    assert cluster.field("after") == "1"


def test_retries_of_exceptions(cluster):
    run(
        cluster,
        """
def third_time(name):
    with open(name, "a") as file:
        file.write("x")
    if os.path.getsize(name) < 3:
        raise OSError("not yet")
    return os.path.getsize(name)
print("patient", client.submit(third_time, "a", retries=2).result(30))
future = client.submit(third_time, "b", retries=1)
print("impatient", repr(future.exception(30)), os.path.getsize("b"))
future = client.submit(third_time, "c")
print("once", repr(future.exception(30)), os.path.getsize("c"))
""",
    )
    assert cluster.field("patient") == "3"
    assert cluster.field("impatient") == "OSError('not yet') 2"
    assert cluster.field("once") == "OSError('not yet') 1"


def test_a_killed_executor_is_replaced_and_its_task_tried_again(cluster):
    run(
        cluster,
        """
def die_twice(name):
    with open(name, "a") as file:
        file.write("x")
    if os.path.getsize(name) < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.path.getsize(name)
futures = client.map(abs, range(50))
print("tries", client.submit(die_twice, "a").result(30))
print("others", client.gather(futures) == list(range(50)))
""",
    )
    assert cluster.field("tries") == "3" and cluster.field("others") == "True"


def test_three_kills_are_a_crash(cluster):
    run(
        cluster,
        """
def die():
    with open("died", "a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
future = client.submit(die, key="doomed")
futures = client.map(abs, range(50))
names = {worker.name for worker in client.workers()}
try:
    future.result(60)
except dtask.WorkerCrashed as error:
    print("message", error)
    print("facts", error.task, error.signal, error.exit_code, error.tries)
    print("known", error.worker in names, error.node in {w.node for w in client.workers()})
try:
    client.submit(os._exit, 5).result(60)
except dtask.WorkerCrashed as error:
    print("exit", error.signal, error.exit_code)
print("died", os.path.getsize("died"))
print("others", client.gather(futures) == list(range(50)))
""",
    )
    assert cluster.field("facts") == "doomed 9 None 3" and cluster.field("known") == "True True"
    assert re.search(r"doomed.*signal 9.*SIGKILL.*3 times.*worker .+ on node .+", cluster.out)
    assert cluster.field("exit") == "None 5"
    assert cluster.field("died") == "3" and cluster.field("others") == "True"


def test_a_segmentation_fault_shows_where(cluster):
    run(
        cluster,
        """
def crash_here():
    import faulthandler
    faulthandler._sigsegv()
print("signal", client.submit(crash_here).exception(60).signal)
""",
    )
    assert cluster.field("signal") == "11" and "in crash_here" in cluster.err


def test_print_comes_at_once_and_whole(cluster):
    cluster.start(
        START
        + """
def speak(x):
    print("line", x, "x" * 300)
    if x == 0:
        time.sleep(2)
    return time.time()
future = client.submit(speak, 0)
ended = future.result(30)
print("ended", ended, flush=True)
client.gather(client.map(speak, range(1, 200)))
client.submit(print, "no newline", end="").result(30)
"""
    )
    first = cluster.line()
    heard = time.time()
    assert first == "line 0 " + "x" * 300
    assert cluster.finish() == 0
    cluster.check_clean()
    assert float(cluster.field("ended")) - heard > 1, "it came before its function had ended"
    lines = cluster.out.splitlines()
    assert sorted(line for line in lines if line.startswith("line ")) == sorted(
        f"line {x} " + "x" * 300 for x in range(200)
    )
    assert "no newline" in cluster.out


def test_cancel(cluster):
    run(
        cluster,
        """
def linger(name):
    open(name, "w").close()
    time.sleep(600)
futures = client.map(linger, [f"f{x}" for x in range(6)])
end = time.monotonic() + 30
while not (os.path.exists("f0") and os.path.exists("f1")):
    assert time.monotonic() < end
    time.sleep(0.01)
began = time.monotonic()
client.cancel(futures)
print("status", *{future.status for future in futures})
print("after", client.submit(abs, -3).result(30))
print("soon", time.monotonic() - began < 5)
""",
    )
    assert cluster.field("status") == "cancelled"
    assert cluster.field("after") == "3" and cluster.field("soon") == "True"


def test_too_large(cluster):
    run(
        cluster,
        """
print("result", len(client.submit(bytes, (64 << 20) + 1).result(60)))
try:
    client.submit(len, bytes((64 << 20) + 1))
except dtask.TooLarge as error:
    print("arguments", error)
""",
    )
    assert cluster.field("result") == str((64 << 20) + 1), "a result may be of any size"
    assert "the arguments of len" in cluster.field("arguments")


def test_modules_beside_the_script(cluster):
    cluster.write("def f(x):\n    return x + 1\n", "beside.py")
    run(
        cluster,
        """
import beside
print("beside", client.submit(beside.f, 1).result(30))
""",
    )
    assert cluster.field("beside") == "2"


def test_priority(cluster):
    run(
        cluster,
        """
def note(x):
    with open("order", "a") as file:
        file.write(f"{x} ")
def block():
    open("blocking", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.01)
blocker = client.submit(block)
end = time.monotonic() + 30
while not os.path.exists("blocking"):
    assert time.monotonic() < end
    time.sleep(0.01)
low = client.map(note, range(40), priority=-1)
high = client.submit(note, "high", priority=5)
client.workers()
open("go", "w").close()
client.gather([low, high])
print("place", open("order").read().split().index("high"))
""",
        tasks=2,
    )
    assert int(cluster.field("place")) < 20, "it overtook those that had not gone to a worker"


def test_a_second_client(cluster):
    """Another process finds the cluster by its scheduler file."""
    run(
        cluster,
        """
import subprocess
environment = {k: v for k, v in os.environ.items() if k not in ("DTASK_ADDRESS", "DTASK_TOKEN")}
code = "import dtask; print('second', dtask.Client().submit(abs, -7).result(30))"
subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
mode = os.stat(os.environ["DTASK_SCHEDULER_FILE"]).st_mode & 0o777
print("mode", oct(mode), client.submit(abs, -1).result(30))
""",
    )
    assert cluster.field("second") == "7" and cluster.field("mode") == "0o600 1"


def test_concurrency(cluster):
    run(
        cluster,
        """
def meet(mine, other):
    open(mine, "w").close()
    end = time.monotonic() + 20
    while not os.path.exists(other):
        assert time.monotonic() < end
        time.sleep(0.01)
    return os.getpid()
print("met", len(set(client.gather([client.submit(meet, "a", "b"), client.submit(meet, "b", "a")]))))
""",
        "--concurrency=2",
        tasks=2,
    )
    assert cluster.field("met") == "2"


def test_timeouts(cluster):
    run(
        cluster,
        """
try:
    client.submit(time.sleep, 600, timeout=0.2, retries=1, key="slow").result(30)
except dtask.TaskTimeout as error:
    print("error", error)
    print("is", isinstance(error, dtask.TimeoutError), error.tries)
print("quick", client.submit(abs, -1, timeout=30).result(30))
""",
    )
    assert cluster.field("error").startswith("slow: ran longer than 200 ms, worker ")
    assert cluster.field("is") == "True 1" and cluster.field("quick") == "1"


def test_workers_and_resources(cluster):
    run(
        cluster,
        """
import threading
names = sorted(worker.name for worker in client.workers())
where = lambda _: os.environ["DTASK_WORKER"]
print("where", set(client.gather(client.map(where, range(20), workers=names[1]))) == {names[1]})
def alone(x):
    path = "busy." + os.environ["DTASK_WORKER"]
    os.mkdir(path)  # fails where another one is there
    time.sleep(0.02)
    os.rmdir(path)
print("alone", len(client.gather(client.map(alone, range(10), resources={"licence": 1}))))
for needs in ({"workers": "nowhere"}, {"resources": {"licence": 2}}):
    try:
        client.submit(abs, -1, key="abs", **needs).result(30)
    except dtask.NoSuitableWorker as error:
        print(error)
""",
        "--concurrency=4",
        DTASK_RESOURCES="licence=1",
    )
    assert cluster.field("where") == "True" and cluster.field("alone") == "10"
    assert "abs: no worker is one of nowhere\n" in cluster.out
    assert "abs: no worker is 2 of licence\n" in cluster.out


def test_run_on_every_worker(cluster):
    run(
        cluster,
        """
names = {worker.address: worker.name for worker in client.workers()}
where = lambda: os.environ["DTASK_WORKER"]
print("all", client.run(where) == names)
first = sorted(names.values())[0]
print("one", list(client.run(where, workers=first).values()) == [first])
print("none", client.run(where, workers=["nowhere"]))
try:
    client.run(lambda: 1 / 0)
except ZeroDivisionError:
    print("raised")
""",
    )
    assert cluster.out == "all True\none True\nnone {}\nraised\n"


def test_uploads(cluster):
    run(
        cluster,
        """
import pathlib, zipfile
here = pathlib.Path("elsewhere")
(here / "package").mkdir(parents=True)
(here / "single.py").write_text("VALUE = 1\\n")
(here / "package" / "__init__.py").write_text("from .part import VALUE\\n")
(here / "package" / "part.py").write_text("VALUE = 2\\n")
with zipfile.ZipFile("third.zip", "w") as archive:
    archive.writestr("third.py", "VALUE = 3\\n")

def value(name):
    import importlib
    return importlib.import_module(name).VALUE

try:
    client.submit(value, "single").result(30)
except ModuleNotFoundError as error:
    print(error)
for path in (here / "single.py", here / "package", "third.zip"):
    client.upload(path)
names = ["single", "package", "third"]
print("values", client.gather(client.map(value, names * 4)) == [1, 2, 3] * 4)
(here / "single.py").write_text("VALUE = 11\\n")
client.upload(here / "single.py")
print("newer", set(client.gather(client.map(value, ["single"] * 8))))
for path in ("nowhere.py", "script.py.txt"):
    open("script.py.txt", "w").close()
    try:
        client.upload(path)
    except (OSError, ValueError) as error:
        print("refused", str(error).replace(os.getcwd() + "/", ""))
""",
    )
    assert cluster.out.startswith("No module named 'single'\nvalues True\nnewer {11}\n")
    assert "refused upload: there is no nowhere.py\n" in cluster.out
    assert "refused upload: script.py.txt: accepted: a .py, a package's directory" in cluster.out


def test_preload(cluster):
    script = "print('there', client.submit(lambda: 'wave' in sys.modules).result(30))"
    run(cluster, script, "--preload=wave,os.path")
    assert cluster.field("there") == "True"


def test_a_preload_that_fails(cluster):
    script = START + "client.submit(abs, -1).result(30)"
    assert cluster.run(script, "--preload=nonsense", tasks=2) != 0
    assert "dtask: --dtask-preload=nonsense: ModuleNotFoundError: No module named" in cluster.err

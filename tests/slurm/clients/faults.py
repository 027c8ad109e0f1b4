# SPDX-License-Identifier: Apache-2.0
"""What faults give their caller, in either engine. Prints lines `NAME VALUE`.

    faults.py errors CODE    functions that raise, end their process and pass the memory limit,
                             among good ones; exits with CODE
    faults.py lineage GO     values that stay on their workers are used after the file GO has come,
                             and their workers may have gone meanwhile

`errors` counts the runs of functions in files of the current directory. `lineage` says `made` when
all values are there, then `right COUNT`, `again COUNT` (functions that ran once more), and `back
SECONDS`, from GO's coming until all workers were there.
"""

import os
import signal
import sys
import time
import traceback

ENGINE = os.environ["DTASK_ENGINE"]
EXPECTED = int(os.environ["DTASK_NWORKERS"])
if ENGINE == "dask":
    from distributed import Client, as_completed
    from distributed.scheduler import KilledWorker
else:
    from dtask import Client, MemoryLimitExceeded, WorkerCrashed, as_completed

BLOCK = 300_000  # bytes: too large to travel with a report
BLOCKS = 60
PATIENCE = 120 * int(os.environ.get("DTASK_TEST_SLOW", "1"))  # seconds
here = os.getcwd()


def count(name):
    with open(os.path.join(here, name), "a") as file:
        file.write("x")


def counted(name):
    try:
        return os.path.getsize(os.path.join(here, name))
    except FileNotFoundError:
        return 0


def raising(name):
    count(name)
    raise ValueError(f"raised in {name}")


def by_signal():
    count("by_signal")
    os.kill(os.getpid(), signal.SIGKILL)


def by_exit_code():
    os._exit(5)


def hog():
    blocks = []
    while True:
        blocks.append(bytearray(b"x") * (4 << 20))


def square(x):
    time.sleep(0.02)
    return x * x


def raised(future):
    """The exception of a future, and its traceback as text."""
    error = future.exception(PATIENCE)
    frames = future.traceback() if ENGINE == "dask" else error.__traceback__
    return error, "".join(traceback.format_exception(type(error), error, frames))


def errors(client):
    once = client.submit(raising, "once", pure=False)
    thrice = client.submit(raising, "thrice", retries=2, pure=False)
    good = client.map(square, range(200))
    for name, future in (("once", once), ("thrice", thrice)):
        error, text = raised(future)
        print(name, counted(name), type(error).__name__, error, "in raising" in text)
    if ENGINE == "dask":
        # Dask's own rule: a worker that dies so with a task for the fourth time takes it along.
        killed = client.submit(hog, pure=False).exception(PATIENCE)
        print("memory", isinstance(killed, KilledWorker), str(killed).replace("\n", " "))
    else:
        for name, call in (("signal", by_signal), ("exit", by_exit_code)):
            error = client.submit(call).exception(PATIENCE)
            named = (error.task, error.worker, error.node)
            print(name, isinstance(error, WorkerCrashed), all(part in str(error) for part in named))
            print(name, "message", error)
        print("tries", counted("by_signal"))
        for future in [client.submit(hog) for _ in range(3)]:
            error = future.exception(PATIENCE)
            over = isinstance(error, MemoryLimitExceeded)
            named = (error.task, error.worker, error.node)
            print("memory", over, all(name in str(error) for name in named))
            print("memory message", error)
    print("right", sum(a == b * b for b, a in enumerate(client.gather(good))), flush=True)
    sys.exit(int(sys.argv[2]))


def block(i):
    count("runs")
    time.sleep(0.02)
    return bytes([i]) * BLOCK


def last(data):
    return data[-1], len(data)


def lineage(client):
    go = sys.argv[2]
    blocks = client.map(block, range(BLOCKS))
    for _ in as_completed(blocks):
        pass
    before = counted("runs")
    print("made", before, flush=True)
    end = time.monotonic() + PATIENCE
    while not os.path.exists(go) and time.monotonic() < end:
        time.sleep(0.02)
    began = time.monotonic()
    results = client.gather([client.submit(last, one) for one in blocks])
    print("right", sum(result == (i, BLOCK) for i, result in enumerate(results)))
    print("used", round(time.monotonic() - began, 2))
    print("again", counted("runs") - before)
    client.wait_for_workers(EXPECTED, timeout=60)
    print("back", round(time.monotonic() - began, 2), flush=True)


with Client() as client:
    client.wait_for_workers(EXPECTED, timeout=PATIENCE)
    {"errors": errors, "lineage": lineage}[sys.argv[1]](client)

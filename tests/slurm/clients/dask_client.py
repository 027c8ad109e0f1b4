# SPDX-License-Identifier: Apache-2.0
"""A client of real Dask: what the tests of the dask engine run. Prints lines `NAME VALUE`.

    report           the cluster as its own processes see it, one line a worker, and results
    file             the same connection by the scheduler file, and what the file is
    hog              a task passes its worker's memory limit, others don't
    exit N | raise   ends so, saying when
    leave            restarts the cluster, retires a worker, and then shuts Dask down
    hold FILE        stays until FILE exists
    busy             tasks are running; stays
    lost             waits for a result until the cluster is lost, and says so
"""

import json
import os
import sys
import time

from distributed import Client
from distributed.scheduler import KilledWorker


def this_process():
    """Of the Dask process that runs it: Python, TMPDIR, OMP_NUM_THREADS, ports that it listens at."""
    import psutil

    ports = [c for c in psutil.Process().connections("tcp") if c.status == "LISTEN"]
    return [
        sys.prefix,
        os.environ.get("TMPDIR"),
        os.environ.get("OMP_NUM_THREADS"),
        sorted({c.laddr[0] for c in ports}),
        len(ports),
    ]


def pid_of_the_scheduler(dask_scheduler=None):
    return os.getpid()


def all_workers(client):
    client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=60)


def report(client):
    all_workers(client)
    print("scheduler", client.scheduler.address, *client.run_on_scheduler(this_process))
    seen = client.run(this_process)
    for address, worker in client.scheduler_info()["workers"].items():
        print(
            "worker",
            worker["name"],
            worker["nthreads"],
            worker["memory_limit"] >> 20,
            worker["local_directory"],
            address,
            *seen[address],
        )
    print("workers", len(seen))
    print("client", sys.prefix)
    print("squares", sum(client.gather(client.map(lambda x: x * x, range(20)))))


def file(client):
    path = os.environ["DTASK_SCHEDULER_FILE"]
    with open(path, encoding="utf-8") as text:
        content = json.load(text)
    print("path", path)
    print("mode", oct(os.stat(path).st_mode & 0o777))
    print("members", *sorted(content))
    with Client(scheduler_file=path) as other:
        print("same", other.scheduler.address == client.scheduler.address == content["address"])
        print("squares", sum(other.gather(other.map(lambda x: x * x, range(20)))))


def grow():
    blocks = []
    while True:
        blocks.append(bytearray(b"x") * (4 << 20))


def hog(client):
    all_workers(client)
    try:
        client.submit(grow).result(120)
    except KilledWorker as error:
        print("killed", str(error).replace("\n", " "))
    print("squares", sum(client.gather(client.map(lambda x: x * x, range(20)))))


def ends(client):
    assert client.submit(pow, 2, 5).result(60) == 32
    print("end", time.time(), flush=True)
    if sys.argv[1] == "raise":
        raise ValueError("the client's own error")
    sys.exit(int(sys.argv[2]))


def workers(client):
    return len(client.scheduler_info()["workers"])


def wait_until(what, condition, seconds=60):
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise SystemExit(f"in vain for {seconds} s: {what}")
        time.sleep(0.05)


def leave(client):
    all_workers(client)
    everybody = workers(client)
    before = set(client.run(os.getpid).values())
    client.restart(timeout=60)
    wait_until("all workers", lambda: workers(client) == everybody)
    after = set(client.run(os.getpid).values())
    print("restarted", len(after), len(before & after))
    gone = client.retire_workers(n=1)
    print("retired", len(gone))
    # A restart proves that those who are left came back and the retired one did not meanwhile.
    client.restart(timeout=60)
    wait_until("the others", lambda: workers(client) >= everybody - 1)
    print("left", workers(client) - everybody)
    client.shutdown()
    print("shut", "down", flush=True)


def hold(client):
    all_workers(client)
    print("held", client.submit(pow, 2, 5).result(60), flush=True)
    wait_until(sys.argv[2], lambda: os.path.exists(sys.argv[2]), 120)
    print("squares", sum(client.gather(client.map(lambda x: x * x, range(20)))))


def busy(client):
    futures = client.map(time.sleep, [300 + n for n in range(8)])
    wait_until("a running task", lambda: any(client.processing().values()))
    print("busy", len(futures), flush=True)
    client.gather(futures)


def lost(client):
    future = client.submit(time.sleep, 300)
    print("pid", client.run_on_scheduler(pid_of_the_scheduler), flush=True)
    try:
        wait_until("the loss", lambda: client.status != "running" or future.status == "lost", 60)
        print("loss", client.status, flush=True)
    finally:
        os._exit(0)  # the step's exit code is not ours to say any more


def main():
    call = {"exit": ends, "raise": ends}.get(sys.argv[1]) or globals()[sys.argv[1]]
    with Client() as client:
        call(client)


if __name__ == "__main__":
    main()

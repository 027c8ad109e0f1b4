# SPDX-License-Identifier: Apache-2.0
"""A client that goes on while another version is installed: `upgrade.py DIRECTORY`.

At each `ready N` it has written to DIRECTORY it waits for `go N` there, which the test makes when it has
installed something, and then has lost a worker process and with it all executors that it had. Prints
`work N VERSION...`: the versions of the package in executors that worked.
"""

import os
import signal
import sys
import time

import dtask

directory = sys.argv[1]


def version(_):
    time.sleep(0.02)
    from dtask import executor

    return getattr(executor, "VERSION", "old"), os.getppid(), os.environ["DTASK_WORKER"]


def crash(marker):
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "tried again"
    os.kill(os.getpid(), signal.SIGKILL)


def lose(marker):
    """Kill the worker, the parent of executors."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def wait_for_go(number):
    open(f"{directory}/ready{number}", "w").close()
    end = time.monotonic() + 60
    while not os.path.exists(f"{directory}/go{number}"):
        if time.monotonic() > end:
            sys.exit(f"no go{number} in 60 s")
        time.sleep(0.02)


def work(client, number):
    seen = client.gather(client.map(version, range(40)))
    print("work", number, *sorted({entry[0] for entry in seen}), flush=True)


with dtask.Client() as client:
    client.wait_for_workers(2, timeout=60)
    work(client, 0)
    wait_for_go(1)
    print("crash", client.submit(crash, f"{directory}/crashed").result(), flush=True)
    work(client, 1)
    client.submit(lose, f"{directory}/lost1", workers=client.workers()[0].name).result()
    client.wait_for_workers(2, timeout=60)
    work(client, 2)
    wait_for_go(2)
    client.submit(lose, f"{directory}/lost2").result()
    work(client, 3)

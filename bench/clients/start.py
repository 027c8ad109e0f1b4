# SPDX-License-Identifier: Apache-2.0
"""What each way to a cluster is made to do by bench/start; the peers in bench/peers import it.

    start.py native|dask|file DO [WORKERS]

DO is `time`: says when the first result was there, when all of WORKERS were, and how many; `oom`: one
task grows until it is killed, and what its future says is printed; `raise`: an error of the client's
own; `busy`: tasks run until somebody ends it. `file` is a Client of the page's manual recipe.
"""

import os
import sys
import time

PATIENCE = 60  # seconds


def say(name, value):
    print(name, value, flush=True)


def grow():
    blocks = []
    while True:
        blocks.append(bytearray(b"x") * (4 << 20))


def do(client, what, workers=0):
    assert client.submit(pow, 2, 5).result(PATIENCE) == 32
    say("first", time.time())
    if what == "time":
        client.wait_for_workers(workers, timeout=PATIENCE)
        say("all", time.time())
    elif what == "oom":
        try:
            client.submit(grow).result(PATIENCE)
        except Exception as error:
            say("told", f"{type(error).__name__}: {error}".replace("\n", " "))
        say("goes-on", client.submit(pow, 2, 5).result(PATIENCE))
    elif what == "raise":
        raise ValueError("the client's own error")
    elif what == "busy":
        futures = client.map(time.sleep, [300 + n for n in range(8)])
        say("busy", len(futures))
        client.gather(futures)


def main():
    kind, what, workers = sys.argv[1], sys.argv[2], int((sys.argv[3:] or ["1"])[0])
    if kind == "native":
        from dtask import Client

        client = Client()
    elif kind == "dask":
        from distributed import Client

        client = Client()
    else:
        from distributed import Client

        client = Client(scheduler_file=os.environ["SCHED_FILE"])
    with client:
        do(client, what, workers)


if __name__ == "__main__":
    main()

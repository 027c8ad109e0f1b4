# SPDX-License-Identifier: Apache-2.0
"""An ensemble that bench/faults disturbs: `faults.py native|dask|file CALLS MILLISECONDS [hog]`.

`file` is a Client of the manual recipe's scheduler file. Each of twice as many threads as there are
workers makes one call after the other and waits for it, so that what is under way at any time is known.
Says `ready` once a quarter of the calls are done, `call SUBMITTED ENDED WHAT` for each, where WHAT is
`right`, `wrong` or the exception, and `workers N` at the end. With `hog` one call, the first after
`ready`, grows until it is stopped: `hog SUBMITTED ENDED EXCEPTION`.
"""

import os
import sys
import threading
import time

PATIENCE = 60  # seconds until a result counts as lost


def work(x, seconds):
    time.sleep(seconds)
    return x * x


def grow():
    blocks = []
    while True:
        blocks.append(bytearray(b"x") * (4 << 20))


def connect(kind):
    if kind == "native":
        from dtask import Client

        return Client()
    from distributed import Client

    return Client(scheduler_file=os.environ["SCHED_FILE"]) if kind == "file" else Client()


class Ensemble:
    def __init__(self, client, calls, seconds, hog):
        self.client, self.calls, self.seconds, self.hog = client, calls, seconds, hog
        self.lock = threading.Lock()
        self.next = self.done = 0

    def take(self):
        with self.lock:
            self.next += 1
            return self.next - 1

    def ended(self):
        with self.lock:
            self.done += 1
            if self.done == self.calls // 4:
                print("ready", time.time(), flush=True)
                return self.hog
        return False

    def timed(self, word, call, *args):
        began = time.time()
        try:
            value = self.client.submit(call, *args).result(PATIENCE)
            what = "right" if value == args[0] * args[0] else "wrong"
        except BaseException as error:  # of Dask's, CancelledError is none of Exception
            what = f"{type(error).__name__}: {error}".replace("\n", " ") or type(error).__name__
        with self.lock:
            print(word, began, time.time(), what, flush=True)

    def run(self):
        while True:
            x = self.take()
            if x >= self.calls:
                return
            self.timed("call", work, x, self.seconds)
            if self.ended():
                self.timed("hog", grow)


def main():
    kind, calls, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) / 1000
    client = connect(kind)
    workers = int(os.environ["WORKERS"])
    client.wait_for_workers(workers, timeout=PATIENCE)
    ensemble = Ensemble(client, calls, seconds, sys.argv[4:] == ["hog"])
    threads = [threading.Thread(target=ensemble.run, daemon=True) for _ in range(2 * workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count = client.workers() if kind == "native" else client.scheduler_info()["workers"]
    print("workers", len(count), flush=True)
    client.close()


main()

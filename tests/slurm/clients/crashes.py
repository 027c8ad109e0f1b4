# SPDX-License-Identifier: Apache-2.0
"""Functions that end their process, by a signal and by an exit code, among 100 good ones."""

import os
import signal

import dtask


def by_signal():
    os.kill(os.getpid(), signal.SIGKILL)


def by_exit_code():
    os._exit(5)


client = dtask.Client()
client.wait_for_workers(2, timeout=30)
futures = client.map(abs, range(100))
first, second = client.submit(by_signal), client.submit(by_exit_code)
for future, names in ((first, ("tries", "signal", "worker", "node")), (second, ("exit_code",))):
    try:
        future.result(60)
    except dtask.WorkerCrashed as error:
        print("message", error)
        for name in names:
            print(name, getattr(error, name))
print("right", sum(a == b for a, b in enumerate(client.gather(futures))))

# SPDX-License-Identifier: Apache-2.0
"""Works until SIGUSR1 comes, then saves how far it is and ends: `saves.py FILE CODE`.

Says `started` with the first results and `saved` at the end; FILE gets `signal N, COUNT done`.
"""

import signal
import sys
import time

import dtask

came = []
signal.signal(signal.SIGUSR1, lambda number, _: came.append(number))


def work(x):
    time.sleep(0.02)
    return x


with dtask.Client() as client:
    client.wait_for_workers(2, timeout=60)
    done = 0
    while not came:
        done += len(client.gather(client.map(work, range(50))))
        if done == 50:
            print("started", time.time(), flush=True)
    with open(sys.argv[1], "w") as file:
        file.write(f"signal {came[0]}, {done} done\n")
    print("saved", flush=True)
sys.exit(int(sys.argv[2]))

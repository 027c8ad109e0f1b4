# SPDX-License-Identifier: Apache-2.0
"""On the engine dask: a task that starts a process which has too much, then one that is right."""

import subprocess
import sys

from dask.distributed import Client, KilledWorker


def hog():
    subprocess.run([sys.executable, "-c", "import time; held = b'x' * (700 << 20); time.sleep(60)"])


client = Client()
try:
    client.submit(hog).result(80)
except KilledWorker as error:
    print("KilledWorker", " ".join(str(error).split()))
print("after", client.submit(sum, [20, 22]).result(60))

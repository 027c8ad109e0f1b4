# SPDX-License-Identifier: Apache-2.0
"""A client that ends in one of the ways a client can end, saying when: `end SECONDS`.

    exit N | segv | at-once | never | raise | busy

`at-once` and `never` don't connect; `busy` ends while a map is under way.
"""

import os
import signal
import sys
import time


def say_end():
    print("end", time.time(), flush=True)


how = sys.argv[1]
if how in ("exit", "segv", "raise", "busy"):
    import dtask

    client = dtask.Client()
    client.wait_for_workers(1, timeout=30)
    assert client.submit(pow, 2, 5).result(30) == 32
if how == "never":
    time.sleep(1)
if how == "busy":
    client.map(time.sleep, [30] * 100)
say_end()
if how == "exit":
    sys.exit(int(sys.argv[2]))
if how == "segv":
    os.kill(os.getpid(), signal.SIGSEGV)
if how == "raise":
    raise ValueError("the client's own error")

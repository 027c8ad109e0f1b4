# SPDX-License-Identifier: Apache-2.0
"""The client of bench/startup: says when it came how far, in seconds of the monotonic clock.

startup.py native|dask|bare; `file PATH` is a Client of the manual recipe.
"""

import time

BEGAN = time.monotonic()
PATIENCE = 60  # seconds


def main():
    import sys

    kind, marks = sys.argv[1], [("begin", BEGAN)]

    def mark(name):
        marks.append((name, time.monotonic()))

    if kind == "bare":
        assert pow(2, 5) == 32
    else:
        if kind == "native":
            from dtask import Client
        else:
            from distributed import Client
        mark("imported")
        client = Client(scheduler_file=sys.argv[2]) if kind == "file" else Client()
        mark("connected")
        assert client.submit(pow, 2, 5).result(PATIENCE) == 32
    mark("result")
    print("".join(f"time {name} {at:.6f}\n" for name, at in marks), end="", flush=True)
    if kind != "bare":
        client.close()


if __name__ == "__main__":
    main()

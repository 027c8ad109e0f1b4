# SPDX-License-Identifier: Apache-2.0
"""A client of real Dask: what the tests of the dask engine run. Prints lines `NAME VALUE`.

    report         the cluster as Dask sees it, one line a worker, and a result
"""

import os
import sys

from distributed import Client


def report():
    with Client() as client:
        client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=60)
        print("scheduler", client.scheduler.address)
        for address, worker in client.scheduler_info()["workers"].items():
            print("worker", worker["name"], worker["nthreads"], worker["memory_limit"],
                  worker["local_directory"], address, worker["services"])
        print("sum", client.submit(sum, [1, 2, 3]).result(30))
        print("squares", sum(client.gather(client.map(lambda x: x * x, range(20)))))


if __name__ == "__main__":
    {"report": report}[sys.argv[1]]()

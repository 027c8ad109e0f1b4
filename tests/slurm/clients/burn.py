# SPDX-License-Identifier: Apache-2.0
"""How many CPUs two workers of one node get, in either engine, as they count themselves.

    burn.py share   the first worker burns one thread, then threads and processes, eight in all,
                    the second one thread beside it all the time. Prints in CPU seconds a second:
                    `single` and `wide` of the first, `before` and `beside` of the second, each
                    a mean, and `alone` of the first while the second idles
    burn.py pair    two calls burn eight each at the last worker, at a time where its concurrency
                    lets them, and the client burns one beside them: `pair`, their sum, and `client`
    burn.py where   `worker NAME CPUS THREADS QUOTA`: on which CPUs an executor of each worker may
                    run, its OMP_NUM_THREADS and what its cgroup lets it use, in CPUs (0: all);
                    `child NAME CPUS` of what it starts; `client CPUS`
"""

import hashlib
import os
import resource
import subprocess
import sys
import threading
import time

ROUND = 1.2  # seconds
LOOP = """
import sys, time
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    sum(range(10000))
"""


def cpu_seconds():
    total = 0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def burn(threads, processes, seconds):
    """CPU seconds a second that so many of each get; the threads hold no lock while they hash."""
    block = b"x" * (1 << 18)
    end = time.monotonic() + seconds

    def loop():
        while time.monotonic() < end:
            hashlib.sha256(block)

    began, before = time.monotonic(), cpu_seconds()
    started = [subprocess.Popen([sys.executable, "-c", LOOP, str(seconds)]) for _ in range(processes)]
    running = [threading.Thread(target=loop) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    for process in started:
        process.wait()
    return (cpu_seconds() - before) / (time.monotonic() - began)


def read(path):
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


def quota():
    """Of this process' own group, in CPUs; 0 where there is none."""
    root = "/sys/fs/cgroup"
    for line in open("/proc/self/cgroup", encoding="utf-8"):
        _, controllers, path = line.rstrip("\n").split(":", 2)
        if not controllers:
            limit = read(f"{root}{path}/cpu.max")
        elif "cpu" in controllers.split(","):
            group = f"{root}/cpu{path}"
            limit = read(f"{group}/cpu.cfs_quota_us") + read(f"{group}/cpu.cfs_period_us")
        else:
            continue
        if limit and limit[0] not in ("max", "-1"):
            return int(limit[0]) / int(limit[1])
    return 0


def place():
    said = subprocess.run(
        [sys.executable, "-c", "import os; print(*sorted(os.sched_getaffinity(0)), sep=',')"],
        stdout=subprocess.PIPE,
        check=True,
    )
    threads = os.environ.get("OMP_NUM_THREADS")
    return os.sched_getaffinity(0), threads, quota(), said.stdout.decode().strip()


def text(cpus):
    return ",".join(map(str, sorted(cpus)))


if os.environ["DTASK_ENGINE"] == "dask":
    from dask.distributed import Client
else:
    from dtask import Client

client = Client()
client.wait_for_workers(int(os.environ["DTASK_NWORKERS"]), timeout=60)
workers = client.scheduler_info()["workers"].values()
names = sorted(worker["name"] for worker in workers)


def at(name, function, *args):
    terms = {"workers": [name]}
    if os.environ["DTASK_ENGINE"] == "dask":
        terms["pure"] = False
    return client.submit(function, *args, **terms)


def mean(values):
    return "%.3f" % (sum(values) / len(values))


if sys.argv[1] == "share":
    first, second = names
    single, wide, before, beside = [], [], [], []
    at(first, burn, 1, 1, 0.1).result(30), at(second, burn, 1, 1, 0.1).result(30)
    for _ in range(2):
        for threads, processes, mine, others in ((1, 0, single, before), (4, 4, wide, beside)):
            burner = at(first, burn, threads, processes, ROUND)
            neighbour = at(second, burn, 1, 0, ROUND)
            mine.append(burner.result(60))
            others.append(neighbour.result(60))
    print("single", mean(single), "\nwide", mean(wide))
    print("before", mean(before), "\nbeside", mean(beside))
    print("alone", mean([at(first, burn, 4, 4, ROUND).result(60)]))
elif sys.argv[1] == "pair":
    pair = [at(names[-1], burn, 4, 4, ROUND) for _ in range(2)]
    print("client", mean([burn(1, 0, ROUND)]))
    print("pair", mean([sum(call.result(60) for call in pair)]))
else:
    for name in names:
        cpus, threads, limit, child = at(name, place).result(60)
        print("worker", name, text(cpus), threads, f"{limit:g}")
        print("child", name, child)
    print("client", text(os.sched_getaffinity(0)))

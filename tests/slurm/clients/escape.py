# SPDX-License-Identifier: Apache-2.0
"""A function that tries to get out of its worker's limits, as any function of a user could.

Prints `limit BYTES` as the kernel has it, `tried N`, and `OUT what` for each way that led out. The
limit of the function's group is read again at the end, so that a write that is accepted without effect
is none. `user` is who ran it.
"""

import os
import subprocess

import dtask

ROOT = "/sys/fs/cgroup"
LIMITS = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.high", "memory.max",
          "memory.soft_limit_in_bytes", "memory.oom_control", "cpu.cfs_quota_us", "cpu.max",
          "cpu.shares", "cpu.weight")


def groups():
    """Directories of the groups that this process is in, of memory and cpu, or the one of v2."""
    found = set()
    with open("/proc/self/cgroup", encoding="ascii") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            mine = set(controllers.split(",")) & {"memory", "cpu", "pids", "freezer", ""}
            for name in mine:
                places = [f"{ROOT}/{controllers}{path}", f"{ROOT}/{name}{path}"]
                found.update(place for place in places if os.path.isdir(place))
    return sorted(found)


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def limit():
    for place in groups():
        for name in ("memory.limit_in_bytes", "memory.high"):
            if os.path.exists(f"{place}/{name}") and read(f"{place}/{name}").strip().isdigit():
                return int(read(f"{place}/{name}"))
    return 0


def attempt(tried, out, what, act):
    tried.append(what)
    try:
        act()
    except OSError:
        return
    out.append(what)


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def own_group(above):
    os.mkdir(f"{above}/mine")
    write(f"{above}/mine/cgroup.procs", str(os.getpid()))


def mount():
    command = ["mount", "-t", "tmpfs", "none", "/mnt"]
    if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
        raise PermissionError("mount")


def escape():
    tried, out, before = [], [], limit()
    for place in groups():
        for name in LIMITS:
            path = f"{place}/{name}"
            if os.path.exists(path):
                attempt(tried, out, f"write {path}", lambda path=path: write(path, read(path)))
                attempt(tried, out, f"chmod {path}", lambda path=path: os.chmod(path, 0o666))
        # Into each group above: the process itself is what it has.
        above = os.path.dirname(place)
        while above.startswith(ROOT + "/") and os.path.exists(f"{above}/cgroup.procs"):
            attempt(tried, out, f"join {above}",
                    lambda above=above: write(f"{above}/cgroup.procs", str(os.getpid())))
            attempt(tried, out, f"a group of its own below {above}",
                    lambda above=above: own_group(above))
            above = os.path.dirname(above)
        attempt(tried, out, f"remove {place}", lambda place=place: os.rmdir(place))
    attempt(tried, out, "mount", mount)
    if limit() != before or not before:
        out.append(f"the limit is {limit()}, and was {before}")
    return before, len(tried), out, os.geteuid()


client = dtask.Client()
before, tried, out, user = client.submit(escape).result(60)
print("limit", before)
print("tried", tried)
print("user", user)
for what in out:
    print("OUT", what)

# SPDX-License-Identifier: Apache-2.0
"""No wait of ours may end early or late where somebody sets the clock: the sources measure spans by
the monotonic clock only. What tells people the time of day is listed here."""

import os
import re

from places import ROOT

WALL = re.compile(
    r"\btime\.time\b|\btime\.time_ns\b|from time import .*\btime(_ns)?\b(?!out)|datetime|"
    r"CLOCK_REALTIME|system_clock|\bstd::time\(|[^\w.]::time\(|\bgettimeofday\b|"
    r"pthread_cond_timedwait|sem_timedwait"
)
TOLD = {
    os.path.join("lib", "base", "log.cpp"): ["std::time_t now"],
    os.path.join("runtime", "client", "connection_file.cpp"): ['"started"'],
    os.path.join("runtime", "scheduler", "server.cpp"): ["began_s"],
    os.path.join("runtime", "worker", "commands.cpp"): ["::gettimeofday(&now"],
}


def lines():
    for place in ("lib", "runtime", "spank", os.path.join("python", "dtask")):
        for folder, _, names in os.walk(os.path.join(ROOT, place)):
            for name in names:
                if name.endswith((".cpp", ".h", ".py")):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as file:
                        for number, line in enumerate(file, 1):
                            yield os.path.relpath(path, ROOT), number, line


def test_spans_are_measured_by_the_monotonic_clock():
    found, told = [], 0
    for path, number, line in lines():
        if not WALL.search(line):
            continue
        if any(word in line for word in TOLD.get(path, ())):
            told += 1
        else:
            found.append(f"{path}:{number}: {line.strip()}")
    assert found == []
    assert told == len(TOLD), "the list of what may use the wall clock is out of date"


def test_the_check_finds_them():
    for line in (
        "end = time.time() + 5",
        "from time import sleep, time",
        "auto now = std::chrono::system_clock::now();",
        "clock_gettime(CLOCK_REALTIME, &t);",
        "auto t = ::time(nullptr);",
    ):
        assert WALL.search(line), line
    for line in ("time.monotonic()", "from time import monotonic_ns", "TaskTimeout(timeout=3)"):
        assert not WALL.search(line), line

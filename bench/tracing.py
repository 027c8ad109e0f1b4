# SPDX-License-Identifier: Apache-2.0
"""What the kernel saw of processes while something ran: bench/startup's source of times.

A Trace is an instance of the kernel's own tracer (tracefs, root only), with the monotonic clock, so
that its times and Python's time.monotonic() are the same. It costs what it watches about nothing:
unlike strace, it stops nobody. Removed when the `with` ends.
"""

import os
import re

HOME = "/sys/kernel/tracing"
EVENTS = (
    "sched/sched_process_fork",
    "sched/sched_process_exec",
    "sched/sched_process_exit",
    "sched/sched_switch",
    "syscalls/sys_enter_listen",
)
LINE = re.compile(r"^\s*(.{1,16})-(\d+)\s+\[(\d+)\]\s+\S+\s+(\d+\.\d+): (\w+)(?:: |\()(.*)$")
SWITCH = re.compile(r"prev_pid=(\d+) .* next_pid=(\d+) ")


def available():
    return os.access(os.path.join(HOME, "instances"), os.W_OK)


class Event:
    """`what` happened to thread `pid` on processor `cpu` at `at` (seconds, monotonic)."""

    def __init__(self, pid, cpu, at, what, text):
        self.pid, self.cpu, self.at, self.what, self.text = pid, cpu, at, what, text

    def number(self, name):
        return int(re.search(rf"\b{name}=(\d+)", self.text).group(1))

    def word(self, name):
        return re.search(rf"\b{name}=(\S+)", self.text).group(1)


class Trace:
    def __enter__(self):
        self.directory = os.path.join(HOME, "instances", f"dtask-{os.getpid()}")
        os.mkdir(self.directory)
        try:
            self._write("trace_clock", "mono")
            self._write("buffer_size_kb", "16384")
            self._write("tracing_on", "0")
            for event in EVENTS:
                self._write(f"events/{event}/enable", "1")
        except BaseException:
            os.rmdir(self.directory)
            raise
        return self

    def __exit__(self, *_):
        os.rmdir(self.directory)

    def _write(self, name, text):
        with open(os.path.join(self.directory, name), "w", encoding="ascii") as file:
            file.write(text)

    def begin(self):
        self._write("trace", "")
        self._write("tracing_on", "1")

    def end(self):
        """The events since begin(), in the order of their times."""
        self._write("tracing_on", "0")
        events = []
        with open(os.path.join(self.directory, "trace"), encoding="utf-8", errors="replace") as file:
            for line in file:
                found = LINE.match(line)
                if found:
                    _, pid, cpu, at, what, text = found.groups()
                    events.append(Event(int(pid), int(cpu), float(at), what, text))
        return sorted(events, key=lambda event: event.at)


def run_times(events, until):
    """Seconds that each thread had a processor, from the first event to `until`."""
    spent, since = {}, {}
    for event in events:
        if event.what != "sched_switch":
            continue
        before, after = map(int, SWITCH.search(event.text).groups())
        at = min(event.at, until)
        if event.cpu in since:
            began = since[event.cpu]
            spent[before] = spent.get(before, 0) + max(0, at - began)
        since[event.cpu] = at
    return spent

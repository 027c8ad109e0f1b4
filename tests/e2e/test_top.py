# SPDX-License-Identifier: Apache-2.0
"""`dtask top` in a terminal: a pseudo-terminal, whose screen pyte draws as a terminal would.

What each line says is tests/unit/test_screen.cpp's; here it is that it stands on the screen, at each
size, and that the terminal is given back as it was, however it ends.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading

import pytest
from clusters import DTASK, wait_for

pyte = pytest.importorskip("pyte", reason="python3-pyte draws the terminal")

LONG = 60  # seconds; on a quiet machine nothing here takes two

CLIENT = """
    import os, time, dtask

    def solve(x):
        while not os.path.exists(%r):
            time.sleep(0.05)

    def fail(x):
        raise ValueError("no solution for %%d" %% x)

    client = dtask.Client()
    client.wait_for_workers(2, 60)
    failed = client.submit(fail, 7)
    failed.exception(60)
    futures = client.map(solve, range(9))
    open("ready", "w").close()
    client.gather(futures)
    while not os.path.exists("end"):
        time.sleep(0.05)
"""


class Terminal:
    """`dtask top` in a terminal of that many columns and rows."""

    def __init__(self, folder, columns, rows, *arguments, **environment):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.written = b""
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self._set_size(columns, rows)
        env = {**os.environ, "TERM": "xterm-256color", **environment}
        env.pop("NO_COLOR", None)
        env.update(environment)
        self.process = subprocess.Popen(
            [DTASK, "top", "-d", "0.2", *arguments],
            stdin=self.slave, stdout=self.slave, stderr=subprocess.PIPE, cwd=folder, env=env,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _set_size(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self):
        while not self.closing.is_set():
            if not select.select([self.master], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            with self.lock:
                self.written += data
                self.stream.feed(data)

    def resize(self, columns, rows):
        with self.lock:
            self.screen.resize(rows, columns)
        self._set_size(columns, rows)  # the kernel sends SIGWINCH

    def lines(self):
        with self.lock:
            return list(self.screen.display)

    def shows(self, *texts):
        """Waits until each of the texts stands on the screen."""
        wait_for(
            f"{texts} on the screen; it shows:\n" + "\n".join(self.lines()),
            lambda: all(any(text in line for line in self.lines()) for text in texts),
            LONG,
        )
        return self.lines()

    def key(self, keys):
        os.write(self.master, keys)

    def end(self):
        """Its exit code, once it has ended and given the terminal back."""
        code = self.process.wait(LONG)
        wait_for(
            "the terminal as it was",
            lambda: termios.tcgetattr(self.slave) == self.before
            and self.written.endswith(b"\x1b[?25h\x1b[?1049l"),
            LONG,
        )
        return code

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        self.closing.set()
        self.reader.join()
        for fd in (self.master, self.slave):
            os.close(fd)


@pytest.fixture
def running(cluster):
    """A cluster of two workers that run tasks until the file `end` is there."""
    cluster.go = os.path.join(cluster.folder, "go")
    cluster.start(CLIENT % cluster.go)
    wait_for("tasks", lambda: os.path.exists(os.path.join(cluster.folder, "ready")), LONG)
    return cluster


@pytest.fixture
def top(running):
    opened = []

    def open_one(columns=80, rows=24, *arguments, **environment):
        opened.append(Terminal(running.folder, columns, rows, *arguments, **environment))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def goes_on(running, name):
    open(os.path.join(running.folder, name), "w").close()


@pytest.mark.e2e
def test_two_sizes_and_a_resize_in_the_midst(top):
    one = top(80, 24)
    lines = one.shows("cluster 0.", "2 running", "solve-", "ValueError: no solution for 7", "q quits")
    assert "WORKER" in lines[4] and "MEMORY/LIMIT" in lines[4] and "TASK" in lines[4]
    assert "2 of 2 workers" in lines[0]
    assert lines[23].startswith("q quits"), "the last line is the terminal's"
    one.resize(200, 60)
    lines = wait_for("a screen of 200x60", lambda: whole(one, 60), LONG)
    assert "[--" in lines[5], "memory has a bar where there is room"
    one.resize(40, 10)
    wait_for("a screen of 40x10", lambda: whole(one, 10), LONG)
    one.key(b"q")
    assert one.end() == 0


def whole(one, rows):
    lines = one.lines()
    found = len(lines) == rows and lines[rows - 1].startswith("q quits")
    return found and lines[0].startswith("cluster") and lines


@pytest.mark.e2e
def test_colours_and_none(top):
    one, other = top(), top(NO_COLOR="1")
    one.shows("solve-")
    other.shows("solve-")
    one.key(b"q")
    other.key(b"q")
    assert one.end() == 0 and other.end() == 0
    assert b"\x1b[7m" in one.written
    for code in (b"\x1b[7m", b"\x1b[3", b"\x1b[1m"):
        assert code not in other.written.replace(b"\x1b[?25", b"")


@pytest.mark.e2e
def test_signals_give_the_terminal_back(top):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        one = top()
        one.shows("q quits")
        one.process.send_signal(number)
        assert one.end() == 128 + number
    one = top()
    one.shows("q quits")
    one.key(b"\x03")  # Ctrl-C, by the terminal itself
    assert one.end() == 128 + signal.SIGINT


@pytest.mark.e2e
def test_the_end_of_the_cluster(top, running):
    one = top(100, 30)
    one.shows("2 running")
    goes_on(running, "go")
    one.shows("0 running", "9 done", "1 failed")
    goes_on(running, "end")
    assert one.process.wait(LONG) == 0
    assert b"has ended" in one.written.split(b"\x1b[?1049l")[-1]
    assert termios.tcgetattr(one.slave) == one.before


@pytest.mark.e2e
def test_a_cluster_that_is_lost(top, running):
    one = top()
    one.shows("q quits")
    for pid in running.processes("scheduler"):
        os.kill(pid, signal.SIGKILL)
    assert one.end() == 70
    assert b"dtask top: the scheduler of 0." in one.process.stderr.read()


@pytest.mark.e2e
def test_without_a_terminal_it_is_a_table(top, running):
    def plain(**environment):
        return subprocess.run(
            [DTASK, "top"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=LONG, cwd=running.folder, env={**os.environ, **environment},
        )  # fmt: skip

    done = plain(TERM="xterm")
    assert done.returncode == 0 and "\x1b" not in done.stdout
    assert done.stdout.startswith("cluster 0.") and "solve-" in done.stdout
    dumb = top(TERM="dumb")
    assert dumb.process.wait(LONG) == 0
    wait_for("a table", lambda: b"solve-" in dumb.written, LONG)
    assert b"\x1b" not in dumb.written

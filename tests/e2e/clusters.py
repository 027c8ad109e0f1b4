# SPDX-License-Identifier: Apache-2.0
"""Runs scripts as clients of `dtask run`, and looks for what is left behind.

All that a run starts bears a variable of its own in its environment; that is how its processes are
told from others, and how they are ended where a test fails.
"""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("DTASK_BUILD", os.path.join(ROOT, "build"))
DTASK = os.path.join(BUILD, "dtask")

SERVE = """
import os, dtask
dtask.Client().wait_for_workers(timeout=60)
print(os.environ["DTASK_ADDRESS"], os.environ["DTASK_TOKEN"], flush=True)
open("until").read()  # a pipe: until its writer closes it
"""


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:  # it has ended
        return b""


def wait_for(what, condition, seconds):
    """Poll until condition() is true; its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"after {seconds} s: {what} did not happen"
        time.sleep(0.02)


class Cluster:
    """One `dtask run`, with a directory for its script and its scratch."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.scratch = os.path.join(self.folder, "scratch")
        os.mkdir(self.scratch)
        self.mark = f"DTASK_TEST_MARK={uuid.uuid4()}"
        self.process = None
        self.out = self.err = ""

    def serve(self, tasks, seconds):
        """Start it with a client that waits for release(); (address, token) of its scheduler."""
        os.mkfifo(os.path.join(self.folder, "until"))
        self.start(SERVE, tasks=tasks)
        return self.line(seconds).split()

    def release(self):
        with open(os.path.join(self.folder, "until"), "w"):
            pass

    def write(self, text, name="script.py"):
        """Write a file beside the script; its path."""
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(text))
        return path

    def start(self, script, *options, tasks=3, command=None, **environment):
        """Start it with a script (text) as the client, or with another command."""
        assert os.access(DTASK, os.X_OK), f"{DTASK} is not there: build it, or set DTASK_BUILD"
        if command is None:
            command = [sys.executable, self.write(script)]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("DTASK_", "SLURM_"))}
        name, value = self.mark.split("=")
        self.process = subprocess.Popen(
            [DTASK, "run", "-n", str(tasks), *options, "--", *command],
            cwd=self.folder,
            env={**clean, "TMPDIR": self.scratch, name: value, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, seconds=60):
        """Wait for the end; the exit code. What it wrote is in out and err."""
        out, self.err = self.process.communicate(timeout=seconds)
        self.ended = time.time()
        self.out += out
        return self.process.returncode

    def run(self, script, *options, seconds=60, **keywords):
        """Run a script; its exit code. Nothing may be left."""
        self.start(script, *options, **keywords)
        code = self.finish(seconds)
        self.check_clean()
        return code

    def line(self, seconds=30):
        """The next line of standard output."""
        timer_end = time.monotonic() + seconds
        line = self.process.stdout.readline()
        assert line and time.monotonic() < timer_end, "no line came"
        self.out += line
        return line.rstrip("\n")

    def field(self, name):
        """What follows `name ` in a line of standard output."""
        for line in self.out.splitlines():
            if line.startswith(name + " "):
                return line[len(name) + 1 :]
        raise AssertionError(f"no line {name!r} in:\n{self.out}\n{self.err}")

    def processes(self, *words):
        """Ids of its processes whose command line has these words."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if self.mark.encode() not in read(f"/proc/{pid}/environ").split(b"\0"):
                continue
            line = read(f"/proc/{pid}/cmdline").decode(errors="replace").split("\0")
            if line[0] and all(word in line for word in words):
                found.append(int(pid))
        return found

    def check_clean(self):
        """No process and no file may be left, a second after the end."""

        def clean():
            return not self.processes() and not self.left_files()

        try:
            wait_for("a clean end", clean, 3)
        except AssertionError:
            left = [read(f"/proc/{pid}/cmdline").replace(b"\0", b" ") for pid in self.processes()]
            raise AssertionError(f"left: {left} {self.left_files()}\n{self.err}") from None

    def left_files(self):
        found = [os.path.join(self.scratch, name) for name in os.listdir(self.scratch)]
        for folder, _, names in os.walk(os.path.join(self.folder, ".dtask")):
            found += [os.path.join(folder, name) for name in names]
        return found

    def close(self):
        """End what is left of it."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.process is not None:
            self.process.communicate(timeout=20)
        shutil.rmtree(self.folder, ignore_errors=True)

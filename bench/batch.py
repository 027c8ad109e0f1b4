# SPDX-License-Identifier: Apache-2.0
"""A command as the last of a batch script in the sandbox's Slurm, for bench/start and bench/faults.

Processes of a run are found by the variable SCHED_FILE, which each of them inherits: none of another
job, and none that is not ours, is ever touched.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(HERE)
SANDBOX = os.path.join(TREE, "tests", "slurm", "sandbox")
PYTHON = "/usr/bin/python3"


def slurm(*command, directory=None, **environment):
    return subprocess.run([SANDBOX, "run", "--", *command], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.DEVNULL, cwd=directory,
                          env={**os.environ, **environment}).stdout


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:  # the process has ended
        return b""


class Process:
    """A process of a run. Its environment is the one that it began with."""

    def __init__(self, pid, environment):
        self.pid = pid
        self.environment = environment
        self.words = read(f"/proc/{pid}/cmdline").decode(errors="replace").split("\0")[:-1]

    @property
    def node(self):
        return self.environment.get("SLURMD_NODENAME", "")

    @property
    def rank(self):
        return self.environment.get("SLURM_PROCID", "")

    def has(self, word):
        return any(os.path.basename(part) == word or part == word for part in self.words)


class Job:
    """A running command: what it prints, its exit code, or that it hangs after `limit` seconds.

    The command's `{file}` is the path of its scheduler file in a directory of its own; `old_file` is
    put there before. `request` is sbatch's; `environment` the script's, and that of all below it.
    """

    def __init__(self, command, request, limit, old_file=None, **environment):
        self.directory = tempfile.mkdtemp(prefix="dtask-bench-", dir="/tmp")
        self.file = os.path.join(self.directory, "cluster.sched")
        self.log = os.path.join(self.directory, "output")
        if old_file is not None:
            with open(self.file, "w", encoding="utf-8") as file:
                json.dump(old_file, file)
        self.deadline = time.monotonic() + limit
        self.gone, self.ask_again = False, time.monotonic() + 2
        script = os.path.join(self.directory, "job.sh")
        with open(script, "w", encoding="utf-8") as file:
            file.write("#!/bin/bash\nexport SLURM_CPUS_PER_TASK=1\necho start $(date +%s.%N)\n"
                       f"{command.format(file=self.file)}\n"
                       "code=$?; echo code $code; exit $code\n")
        self.job = slurm("sbatch", "--parsable", *request, "-o", self.log, script,
                         directory=self.directory, SCHED_FILE=self.file, PYTHONUNBUFFERED="1",
                         **environment).strip()

    def lines(self):
        return read(self.log).decode(errors="replace").splitlines()

    def says(self, word):
        return any(line.startswith(word + " ") for line in self.lines())

    def lives(self):
        return bool(slurm("squeue", "-h", "-j", self.job))

    def ended(self):
        """Whether the job has gone. Slurm is asked now and then only: it has other things to do."""
        if time.monotonic() >= self.ask_again:
            self.gone = not self.lives()
            self.ask_again = time.monotonic() + (1 if self.says("code") else 5)
        return self.gone

    def wait_for(self, condition):
        """Whether it became true before the job ended or its time was over."""
        while not condition():
            if time.monotonic() > self.deadline or self.ended():
                return condition()
            time.sleep(0.05)
        return True

    def finish(self):
        """Until the job has gone, or hangs; then nothing of it is left."""
        while not self.ended() and time.monotonic() < self.deadline:
            if self.says("code"):
                self.ask_again = min(self.ask_again, time.monotonic() + 1)
            time.sleep(0.2)
        self.hangs = not self.gone
        self.said = {}
        for line in self.lines():
            name, _, value = line.partition(" ")
            self.said.setdefault(name, value)
        self.output = "\n".join(self.lines())
        self.code = self.said.get("code", "of no process: it was killed")
        self.cancel()
        for process in self.processes():
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        shutil.rmtree(self.directory)
        return self

    def cancel(self):
        slurm("scancel", "-Q", self.job)

    def processes(self):
        """Those that still live."""
        found, wanted = [], f"SCHED_FILE={self.file}".encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            parts = read(f"/proc/{pid}/environ").split(b"\0")
            if wanted in parts:
                pairs = (part.decode(errors="replace").partition("=") for part in parts)
                found.append(Process(int(pid), {name: value for name, _, value in pairs}))
        return found

    def span(self, name):
        return float(self.said[name]) - float(self.said["start"])

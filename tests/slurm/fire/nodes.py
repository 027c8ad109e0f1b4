# SPDX-License-Identifier: Apache-2.0
"""The sandbox's hosts and the processes on them, for tests/slurm/chaos.

A host is a set of namespaces that a process of the sandbox holds (tests/slurm/hosts.sh): what is
done on it is done by nsenter.
"""

import os
import subprocess
from pathlib import Path

TREE = Path(__file__).resolve().parents[3]


def run(*command, check=False, **options):
    """A command's output, with a bound."""
    options.setdefault("timeout", 60)
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=check, **options
    )
    return done.stdout


class Nodes:
    """names: the hosts. sandbox: its directory."""

    def __init__(self, sandbox):
        self.sandbox = Path(sandbox)
        fields = (self.sandbox / "dtask-sandbox").read_text().split()
        self.slot, self.names = int(fields[0]), sorted(run("sinfo", "-h", "-N", "-o", "%N").split())

    def address(self, node):
        """On the slow network."""
        return f"10.77.{self.slot}.{self.names.index(node) + 1}"

    def on(self, node, *command, spaces=("--net", "--mount", "--uts"), **options):
        """Run on that host; its output."""
        pid = (self.sandbox / "run" / f"host-{node}.pid").read_text().strip()
        return run("nsenter", "--target", pid, *spaces, "--wd=/", *command, **options)

    def files(self, node, directory):
        """What is below a directory of that host."""
        found = self.on(node, "find", directory, "-mindepth", "1", "-printf", "%p\\n")
        return {f"{node}:{line}" for line in found.splitlines()}

    def daemons(self):
        """Process ids of slurmctld and each slurmd, by name."""
        names = ["slurmctld", *(f"slurmd-{name}" for name in self.names)]
        return {name: int((self.sandbox / "run" / f"{name}.pid").read_text()) for name in names}

    def open_files(self):
        """How many descriptors each daemon has."""
        return {name: len(os.listdir(f"/proc/{pid}/fd")) for name, pid in self.daemons().items()}

    def stepds(self):
        """Processes slurmstepd of these nodes."""
        found = set()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if "slurmstepd" not in os.readlink(f"/proc/{pid}/exe"):
                    continue
                ends = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
            except OSError:
                continue
            if any(end.startswith(f"{self.sandbox}/") for end in ends):
                found.add(f"slurmstepd {pid}")
        return found

    def cgroups(self, job):
        """Of that job, in each hierarchy, v1 or v2."""
        found = set()
        for folder, names, _ in os.walk("/sys/fs/cgroup"):
            for name in names:
                ours = "slurm" in folder or folder.endswith("/dtask")
                if ours and (name == f"job_{job}" or name.endswith(f"job_{job}")):
                    found.add(f"{folder}/{name}")
        return found

    def processes(self, job, *role):
        """(pid, environment, command line) of the job's processes of that role."""
        found = []
        for line in run(str(TREE / "tests/slurm/processes"), str(job), *role).splitlines():
            pid, _, words = line.partition(" ")
            try:
                text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            environment = dict(pair.partition("=")[::2] for pair in text.split("\0"))
            found.append((int(pid), environment, words))
        return found

    def node_of(self, environment):
        return environment.get("SLURMD_NODENAME", "")

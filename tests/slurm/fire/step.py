# SPDX-License-Identifier: Apache-2.0
"""One step of tests/slurm/chaos: `srun --dtask` with the ensemble under fire, and its outcome."""

import os
import re
import signal
import subprocess
import time

from .faults import ENDS, ENDS_WITHIN, FAULTS
from .nodes import TREE, run

START, END = 120.0, 150.0  # s, for a step to begin its work, and to end once it was told to
SLOW = 3  # times what is promised is allowed here: the machine is loaded, too
REQUEST = ["-N4", "-n8", "--cpus-per-task=2", "--mem-per-cpu=100"]
OPTIONS = ["--dtask-wait=all", "--dtask-restarts=1000"]


class Scene:
    """What the faults act on. Owns srun. `violations` is a list of (kind, text)."""

    def __init__(self, nodes, directory, number, seed, user, scratch):
        self.nodes, self.scratch, self.small_scratch = nodes, scratch, nodes.names[-1]
        self.name = f"chaos-{os.getpid()}-{number}"
        self.directory = directory / f"step-{number}"
        self.directory.mkdir()
        self.directory.chmod(0o777)
        self.job, self.others, self.violations = None, [], []
        self.hits = []  # (fault, time, what it hit)
        self.doomed = None  # the fault that ends it
        self.swept_later = False
        self.as_user = user
        with open(self.directory / "out", "w") as out, open(self.directory / "err", "w") as err:
            self.srun = subprocess.Popen(
                [*user, "srun", "-J", self.name, "--dtask", *REQUEST, *OPTIONS]
                + [f"--dtask-scratch={scratch}", "python3"]
                + [str(TREE / "tests/slurm/clients/ensemble.py"), str(self.directory)]
                + [str(seed + number)],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.ended = None

    def violate(self, kind, text):
        self.violations.append((kind, f"{self.directory.name}: {text}"))

    # ---- while it runs

    def begin(self):
        """Wait until it works; False where it does not."""
        try:
            self.job = self.wait_for_job(self.name, 60)
            self._wait("the ensemble's beginning", START, lambda: self.client_pid() is not None)
        except TimeoutError as error:
            self.violate("hang", str(error))
            return False
        return self.runs()

    def wait_for_job(self, name, limit):
        def look():
            words = run("squeue", "-h", "-n", name, "-o", "%A %T").split()
            return int(words[0]) if words[1:] == ["RUNNING"] else None

        return self._wait(f"job {name}", limit, look)

    def _wait(self, what, limit, look):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            found = look()
            if found or not self.runs():
                return found
            time.sleep(0.1)
        raise TimeoutError(f"after {limit} s: {what} has not come")

    def runs(self):
        if self.srun.poll() is None:
            return True
        self.ended = self.ended or time.time()
        return False

    def pause(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.runs():
            time.sleep(min(0.05, seconds))

    def lines(self):
        try:
            return (self.directory / "log").read_text(errors="replace").splitlines()
        except OSError:
            return []

    def client_pid(self):
        ready = [line.split() for line in self.lines() if line.startswith("ready ")]
        return int(ready[0][2]) if ready else None

    def hit(self, fault, number):
        """Inflict it; what it hit, or None. Returns when it is mended, where it mends by itself."""
        began = time.time()
        what = FAULTS[fault][0](self, number)
        if what is None:
            return None
        self.hits.append((fault, began, what))
        if fault in ENDS:
            self.doomed = fault
            self.pause(ENDS_WITHIN * SLOW)
            if self.runs():
                self.violate("end", f"still there {ENDS_WITHIN * SLOW} s after: {fault}")
        return what

    # ---- its end

    def end(self):
        """Have it end, if it has not by itself, and see that nothing of it is left."""
        (self.directory / "stop").touch()
        self.pause(END)
        if self.runs():
            self.violate("hang", f"srun did not end in {END} s")
            self.dump()
            run("scancel", str(self.job or ""), timeout=30)
            self.pause(30)
        if self.runs():
            self.kill()
        code = self.srun.wait()
        self._judge(code)
        for job in [self.job, *self.others]:
            if job:
                self.expect_nothing_left(job)

    def kill(self):
        run("scancel", "-n", self.name, timeout=30)
        self.pause(15)
        if self.runs():
            os.killpg(self.srun.pid, signal.SIGKILL)

    def dump(self):
        """What may tell why it hangs."""
        with open(self.directory / "hang", "w") as file:
            for pid, _, words in self.nodes.processes(self.job or 0):
                try:
                    state = open(f"/proc/{pid}/stat").read().split()[2]
                except OSError:
                    state = "-"
                file.write(f"{pid} {state} {words}\n")
            for path in (self.directory / ".dtask").glob("*.json"):
                file.write(run("dtask", "status", "--json", str(path)))

    def _judge(self, code):
        error = (self.directory / "err").read_text(errors="replace")
        if self.doomed is None:
            # The code is the client's; a launcher that was killed is a task that Slurm saw fail.
            if code != 0 and not self._launcher_killed():
                self.violate("end", f"exit code {code}: {error.strip()[-300:]}")
            if not any(line.startswith("end ") for line in self.lines()):
                self.violate("end", f"its client did not end by itself: {error.strip()[-300:]}")
            return
        if code == 0:
            self.violate("end", f"exit code 0 after: {self.doomed}")
        if not re.search(ENDS[self.doomed], error):
            self.violate("end", f"nothing of '{ENDS[self.doomed]}' said after: {self.doomed}")

    def _launcher_killed(self):
        return any("launcher killed" in fault for fault, _, _ in self.hits)

    def expect_nothing_left(self, job, at_last=False):
        """What a launcher leaves that was killed, the next one on its node removes (ADR 8)."""
        kinds, end = {}, time.monotonic() + 30
        while time.monotonic() < end:
            kinds = self._left(job)
            if self._launcher_killed() and not at_last:
                self.swept_later = True
                kinds["memory"] = kinds["file"] = set()
            if not any(kinds.values()):
                return
            time.sleep(0.3)
        for kind, left in kinds.items():
            if left:
                self.violate(kind, f"job {job} left {len(left)}: {' '.join(sorted(left)[:5])}")

    def _left(self, job):
        memory, files = set(), {str(path) for path in (self.directory / ".dtask").glob("*")}
        for node in self.nodes.names:
            memory |= self.nodes.files(node, "/dev/shm")
            files |= self.nodes.files(node, self.scratch)
        # Another step may run, or may have left what is looked for later.
        memory = {path for path in memory if f"/dtask-{job}." in path}
        files = {path for path in files if f"/dtask-{job}." in path or ":" not in path}
        return {
            "process": {f"{pid} {words}" for pid, _, words in self.nodes.processes(job)},
            "cgroup": self.nodes.cgroups(job),
            "memory": memory,
            "file": files,
        }

    # ---- what its client heard

    def read_results(self):
        """Fill `sent` and `told`, times by task, and `bad`, what is wrong with a task's outcome."""
        self.sent, self.told, self.bad = {}, {}, {}
        for line in self.lines():
            kind, key, *words = line.split(" ")
            if kind == "s":
                self.sent[key] = float(words[0])
            elif kind == "r":
                if key in self.told:
                    self.violate("twice", f"task {key} was told twice")
                self.told[key] = float(words[0])
                self._look(key, words[1], " ".join(words[2:]))
            elif kind == "v":
                self._look(key, words[0], " ".join(words[1:]))
            elif kind == "hang":
                self.violate("hang", f"task {key} has no outcome")
        if self.doomed is None:
            for key in self.sent.keys() - self.told.keys():
                self.bad.setdefault(key, ("lost", "never told"))
        for kind in ("lost", "wrong"):
            bad = [f"task {key}: {text}" for key, (k, text) in self.bad.items() if k == kind]
            for text in bad[:3]:
                self.violate(kind, text)
            if len(bad) > 3:
                self.violate(kind, f"and {len(bad) - 3} more tasks")

    def _look(self, key, word, text):
        # With its cluster the client loses what was under way.
        if word != "right" and not (self.doomed and "ClusterLost" in text):
            self.bad.setdefault(key, (word if word == "lost" else "wrong", text))

    def recovery(self):
        """(fault, seconds, lost): until all that was under way had its outcome, or srun ended."""
        for fault, began, _ in self.hits:
            flying = self._flying(began)
            lost = len(self.bad.keys() & set(flying))
            if fault in ENDS:
                yield fault, (self.ended or time.time()) - began, lost
            elif all(key in self.told for key in flying):
                yield fault, max((self.told[key] - began for key in flying), default=0.0), lost

    def calm(self):
        """The same for moments at which nothing was done."""
        if not self.told:
            return
        moment = min(self.told.values())
        while moment < max(self.told.values()) - 1:
            flying = [key for key in self._flying(moment) if key in self.told]
            yield "none", max((self.told[key] - moment for key in flying), default=0.0), 0
            moment += 0.5

    def _flying(self, moment):
        return [k for k, at in self.sent.items() if at <= moment < self.told.get(k, 1e12)]

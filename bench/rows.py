# SPDX-License-Identifier: Apache-2.0
"""What the programs of bench/ that answer one question each have in common: peers that are run in
steps of the sandbox's Slurm, in turn, and rows that are printed and written as JSON.

A row says what was measured, against whom, both figures and their ratio, which is above 1 where dtask
is ahead, the target of the ratio and whether it was met.
"""

import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(HERE)
SANDBOX = os.path.join(TREE, "tests", "slurm", "sandbox")
PYTHON = "/usr/bin/python3"
LIMIT = 600  # seconds for one measurement
SATURATION = "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION"
PEERS = {
    "dtask": (["--dtask"], {}),
    "Dask, saturation 1.1": (["--dtask=dask", "--dtask-tls=off"], {SATURATION: "1.1"}),
    "Dask, saturation inf": (["--dtask=dask", "--dtask-tls=off"], {SATURATION: "inf"}),
}


def up():
    """Bring the sandbox up, if it is not."""
    subprocess.run([SANDBOX, "up"], check=True, stdout=subprocess.DEVNULL)


def command(peer, step, client, before=()):
    """The command of a peer: `step` are options of srun, `client` a program of clients/ and its
    arguments, `before` words in front of Python."""
    options, _ = PEERS[peer]
    name, *words = client
    path = os.path.join(HERE, "clients", name)
    srun = [SANDBOX, "run", "--", "srun", *options, *step, "--dtask-wait=all"]
    kind = "dtask" if peer == "dtask" else "dask"
    return [*srun, *before, PYTHON, path, kind, *map(str, words)]


def environment_of(peer):
    return PEERS[peer][1] if peer in PEERS else {}


def text(peer, words):
    """A command as it is printed."""
    environment = [f"{key}={value}" for key, value in environment_of(peer).items()]
    return " ".join([*environment, *(word.replace(TREE + "/", "") for word in words)])


def measure(peer, words):
    """What the client of a peer printed last, a line of JSON."""
    done = subprocess.run(
        words, env={**os.environ, **environment_of(peer)}, stdout=subprocess.PIPE, text=True, timeout=LIMIT
    )
    if done.returncode != 0:
        raise SystemExit(f"{text(peer, words)}: exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def rounds(count, peers):
    """Measure peers, a dict of commands by (peer, kind), in turn: lists of answers by the same."""
    answers = {key: [] for key in peers}
    for turn in range(count):
        for key, words in peers.items():
            print(f"round {turn + 1} of {count}: {' '.join(filter(None, key))}", file=sys.stderr)
            answers[key].append(measure(key[0], words))
    return answers


def median(answers, *path):
    """The median of what is at `path` in each answer."""
    values = []
    for answer in answers:
        for name in path:
            answer = answer[name]
        values.append(answer)
    return statistics.median(values)


def row(what, against, ours, theirs, unit, target, command, version, higher_is_better=False, **more):
    """A row; `target` is the least ratio, None where there is none."""
    ratio = ours / theirs if higher_is_better else theirs / ours
    met = None if target is None else bool(ratio >= target)
    return {"what": what, "against": against, "ours": ours, "theirs": theirs, "unit": unit,
            "ratio": ratio, "target": target, "met": met, "version": version, "command": command,
            **more}


def show(title, rows):
    """Print the rows as one table."""
    print(title)
    what, against = (max(len(one[name]) for one in rows) + 2 for name in ("what", "against"))
    print(f"{'':{what}}{'against':{against}}{'dtask':>12}{'they':>12}{'':8}{'ratio':>8}"
          f"{'target':>8}  met")
    for one in rows:
        target = "" if one["target"] is None else f"{one['target']:g}x"
        met = {None: "", True: "yes", False: "no"}[one["met"]]
        print(f"{one['what']:{what}}{one['against']:{against}}{one['ours']:>12,.3f}"
              f"{one['theirs']:>12,.3f} {one['unit']:7}{one['ratio']:>7,.2f}x{target:>8}  {met}")
    print("\ncommands:")
    for line in dict.fromkeys(one["command"] for one in rows):
        print(f"  {line}")


def write(path, rows):
    """Write the rows as JSON, their targets as texts: a number is the least ratio."""
    if path:
        rows = [one if isinstance(one["target"], str) else
                {**one, "target": one["target"] and f">= {one['target']:g}x"} for one in rows]
        with open(path, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
            file.write("\n")

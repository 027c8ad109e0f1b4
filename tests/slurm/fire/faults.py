# SPDX-License-Identifier: Apache-2.0
"""The faults of tests/slurm/chaos.

Each is a function of (scene, number): the scene is what runs, and all that is random comes from the
number, so that a list of faults can be had again. It does its harm, mends it where it mends by
itself, and returns what it hit; None where there was nothing to hit. A fault in ENDS ends its step.
"""

import os
import random
import signal
import socket
import subprocess

NET = ("--net",)


def _choose(found, number):
    return found[number % len(found)] if found else None


def _kill(scene, number, role, signals=(signal.SIGKILL,), ranks=None):
    found = [
        entry
        for entry in scene.nodes.processes(scene.job, role)
        if ranks is None or ranks(int(entry[1].get("SLURM_PROCID", -1)))
    ]
    victim = _choose(found, number)
    if victim is None:
        return None
    _signal([victim[0]], signals[0])
    rank = victim[1].get("SLURM_PROCID")
    return f"{role} {victim[0]} of task {rank} on {scene.nodes.node_of(victim[1])}"


def _signal(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def _stop(scene, found, number, what):
    """SIGSTOP for a while."""
    if not found:
        return None
    pids = [entry[0] for entry in found]
    seconds = 0.5 + number % 40 / 10
    _signal(pids, signal.SIGSTOP)
    try:
        scene.pause(seconds)
    finally:
        _signal(pids, signal.SIGCONT)
    return f"{what} for {seconds} s"


def kill_executor(scene, number):
    return _kill(scene, number, "executor")


def kill_worker(scene, number):
    return _kill(scene, number, "worker")


def kill_launcher(scene, number):
    return _kill(scene, number, "launcher", ranks=lambda rank: rank > 0)


def stop_executor(scene, number):
    found = _choose(scene.nodes.processes(scene.job, "executor"), number)
    return _stop(scene, [found] if found else [], number, f"executor {found and found[0]}")


def stop_worker(scene, number):
    found = _choose(scene.nodes.processes(scene.job, "worker"), number)
    return _stop(scene, [found] if found else [], number, f"worker {found and found[0]}")


def stop_node(scene, number):
    """All that a node runs of the step, the scheduler and the client too where it is the first."""
    node = _choose(scene.nodes.names, number)
    found = [e for e in scene.nodes.processes(scene.job) if scene.nodes.node_of(e[1]) == node]
    return _stop(scene, found, number, f"{len(found)} processes of {node}")


def hogs(scene, number):
    (scene.directory / "hogs").touch()
    return "three hogs"


def _fill(scene, number, node, path):
    seconds = 1 + number % 30 / 10
    name = f"{path}/chaos-filler"
    # It ends with "no space left", which is what it is for.
    scene.nodes.on(node, "dd", "if=/dev/zero", f"of={name}", "bs=1M", "count=512")
    try:
        scene.pause(seconds)
    finally:
        scene.nodes.on(node, "rm", "-f", name)
    return f"{path} of {node} for {seconds} s"


def full_scratch(scene, number):
    return _fill(scene, number, scene.small_scratch, scene.scratch)


def full_shared_memory(scene, number):
    """Where the scratch directory is on disk: else there is no other place for values."""
    nodes = [node for node in scene.nodes.names if node != scene.small_scratch]
    return _fill(scene, number, _choose(nodes, number), "/dev/shm")


def _listeners(scene):
    """(address, port) of the step's scheduler and workers."""
    found = []
    for pid, environment, _ in scene.nodes.processes(scene.job):
        node = scene.nodes.node_of(environment)
        if node not in scene.nodes.names:
            continue
        for line in scene.nodes.on(node, "ss", "-Htlnp", spaces=NET).splitlines():
            if f"pid={pid}," in line:
                found.append((scene.nodes.address(node), int(line.split()[3].rsplit(":", 1)[1])))
    return sorted(set(found))


def stranger(scene, number):
    """Garbage, half a handshake, silence, or a crowd of these at a port of the step."""
    rng = random.Random(number)
    where = _choose(_listeners(scene), number)
    if where is None:
        return None
    how = rng.choice(["garbage", "half", "silent", "crowd"])
    peers = []
    try:
        for _ in range(600 if how == "crowd" else 5):
            peer = socket.create_connection(where, timeout=5)
            peers.append(peer)
            if how == "garbage":
                peer.sendall(rng.getrandbits(8 * 4096).to_bytes(4096, "little"))
            elif how == "half":
                peer.sendall(b"dtask-1\n\x02")
        scene.pause(1)
    except OSError:
        pass  # closed on us, which is right
    finally:
        for peer in peers:
            peer.close()
    return f"{how} at {where[0]}:{where[1]}"


def _cut(scene, number, seconds):
    node = _choose(scene.nodes.names, number)
    links = ("eth0", "ib0")
    for link in links:
        scene.nodes.on(node, "ip", "link", "set", link, "down", spaces=NET)
    try:
        scene.pause(seconds)
    finally:
        for link in links:
            scene.nodes.on(node, "ip", "link", "set", link, "up", spaces=NET)
    return f"{node} for {seconds} s"


def cut_1s(scene, number):
    return _cut(scene, number, 1)


def cut_10s(scene, number):
    return _cut(scene, number, 10)


def scancel_other(scene, number):
    """Another step of dtask beside ours is cancelled at its work."""
    name = f"{scene.name}-other"
    script = "import dtask, time; dtask.Client().map(time.sleep, [60] * 9); time.sleep(99)"
    other = subprocess.Popen(
        [*scene.as_user, "srun", "-J", name, "--dtask", "-N2", "-n3", "--mem-per-cpu=50"]
        + ["python3", "-c", script],
        cwd=scene.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        job = scene.wait_for_job(name, 30)
        scene.others.append(job)
        scene.pause(1 + number % 20 / 10)
        subprocess.run(["scancel", str(job)], check=False, timeout=30)
        code = other.wait(40)
    except (TimeoutError, subprocess.TimeoutExpired):
        scene.violate("hang", "the other step did not end after scancel, or begin")
        other.kill()
        other.wait()
        return "another step, which hung"
    if code == 0:
        scene.violate("end", "a step that was cancelled ended with 0")
    return f"job {job}"


def kill_scheduler(scene, number):
    return _kill(scene, number, "scheduler")


def kill_client(scene, number):
    pid = scene.client_pid()
    if pid is None:
        return None
    _signal([pid], signal.SIGKILL)
    return f"client {pid}"


def kill_first_launcher(scene, number):
    return _kill(scene, number, "launcher", ranks=lambda rank: rank == 0)


# How often each comes, beside the others.
FAULTS = {
    "executor killed": (kill_executor, 10),
    "worker killed": (kill_worker, 8),
    "launcher killed": (kill_launcher, 2),
    "executor stopped": (stop_executor, 5),
    "worker stopped": (stop_worker, 5),
    "node stopped": (stop_node, 4),
    "memory hogs": (hogs, 4),
    "scratch full": (full_scratch, 4),
    "shared memory full": (full_shared_memory, 4),
    "strangers": (stranger, 5),
    "network cut 1 s": (cut_1s, 4),
    "network cut 10 s": (cut_10s, 2),
    "other step cancelled": (scancel_other, 2),
    "scheduler killed": (kill_scheduler, 2),
    "client killed": (kill_client, 2),
    "first launcher killed": (kill_first_launcher, 1),
}
# What becomes of the step: the words that must be on its stderr, or none that must.
ENDS = {
    "scheduler killed": "scheduler",
    "client killed": "",
    "first launcher killed": "",
}
ENDS_WITHIN = 5.0  # s


def plan(seed, seconds):
    """The list of (offset, name, number), the same for the same seed; longer for more seconds."""
    rng = random.Random(seed)
    names = list(FAULTS)
    weights = [FAULTS[name][1] for name in names]
    offset, faults = 2.0, []
    while offset < seconds:
        faults.append((round(offset, 2), rng.choices(names, weights)[0], rng.getrandbits(32)))
        offset += 1 + 4 * rng.random()
    return faults


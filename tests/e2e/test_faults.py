# SPDX-License-Identifier: Apache-2.0
"""Processes of a cluster that are killed, clients that end, strangers: through `dtask run`."""

import os
import re
import signal
import socket
import struct
import time

import pytest
from clusters import wait_for

pytestmark = pytest.mark.e2e

MAP = """
import os, signal, time
import dtask
client = dtask.Client()
client.wait_for_workers(timeout=30)
def work(x):
    time.sleep(0.002)
    return x * x
futures = client.map(work, range(2000))
done = dtask.as_completed(futures)
for _ in range(100):
    next(done)
print("started", os.environ["DTASK_ADDRESS"], flush=True)
results = client.gather(futures)
print("right", sum(value == x * x for x, value in enumerate(results)))
print("workers", len(client.workers()))
"""


def test_killed_executors(cluster):
    cluster.start(MAP)
    cluster.line()
    for _ in range(3):
        killed = set(cluster.processes("dtask.executor"))
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait_for("a new executor", lambda: set(cluster.processes("dtask.executor")) - killed, 20)
    assert cluster.finish() == 0, cluster.err
    assert cluster.field("right") == "2000"
    cluster.check_clean()


def test_what_a_terminal_sends_to_all_is_the_clients(cluster):
    """Ctrl-\\, by which clients are often asked where they are, and its like."""
    cluster.start(MAP)
    cluster.line()
    for pid in cluster.processes("scheduler") + cluster.processes("worker"):
        for number in (signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(pid, number)
    assert cluster.finish() == 0, cluster.err
    assert cluster.err == ""
    assert (cluster.field("right"), cluster.field("workers")) == ("2000", "2")
    cluster.check_clean()


def test_a_killed_worker(cluster):
    cluster.start(MAP, tasks=4)
    cluster.line()
    victim = cluster.processes("worker")[0]
    os.kill(victim, signal.SIGKILL)
    assert cluster.finish() == 0, cluster.err
    assert cluster.field("right") == "2000"
    cluster.check_clean()


def test_a_killed_worker_comes_back(cluster):
    cluster.start(
        MAP
        + """
end = time.monotonic() + 20
while len({worker.pid for worker in client.workers()} - {int(open("victim").read())}) < 3:
    assert time.monotonic() < end, "it does not come back"
    time.sleep(0.05)
print("back", client.submit(abs, -1).result(20))
""",
        tasks=4,
    )
    cluster.write("0", "victim")
    cluster.line()
    victim = cluster.processes("worker")[0]
    cluster.write(str(victim), "victim")
    os.kill(victim, signal.SIGKILL)
    assert cluster.finish() == 0, cluster.err
    assert cluster.field("right") == "2000" and cluster.field("back") == "1"
    cluster.check_clean()


def test_a_worker_killed_at_the_very_end(cluster):
    """It comes back to a cluster that has ended: the client's exit code is the step's all the same."""
    script = """
import os, signal
import dtask
client = dtask.Client()
client.wait_for_workers(timeout=30)
os.kill(client.workers()[0].pid, signal.SIGKILL)
"""
    assert cluster.run(script) == 0, cluster.err


def test_a_killed_scheduler(cluster):
    cluster.start(
        MAP.replace("results = ", "began = time.time()\nresults = ").replace("0.002", "0.05")
    )
    cluster.line()
    began = time.monotonic()
    os.kill(cluster.processes("scheduler")[0], signal.SIGKILL)
    assert cluster.finish() != 0
    assert time.monotonic() - began < 5
    assert re.search(r"scheduler", cluster.err)
    cluster.check_clean()


def test_the_client_hears_of_a_killed_scheduler(cluster):
    cluster.start(
        MAP.replace("0.002", "0.05").replace(
            "results = client.gather(futures)",
            """
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which comes too
try:
    client.gather(futures)
except dtask.ClusterLost as error:
    print("lost", error, flush=True)
    raise SystemExit(0)
""",
        )
    )
    cluster.line()
    os.kill(cluster.processes("scheduler")[0], signal.SIGKILL)
    assert cluster.finish() != 0, "the client's 0 must not hide it"
    assert "connection" in cluster.field("lost")
    cluster.check_clean()


@pytest.mark.parametrize(
    "script, code",
    [
        ("sys.exit(7)", 7),
        ("sys.exit()", 0),
        ("sys.exit('words')", 1),
        ("raise ValueError('its own error')", 1),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 139),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("client.map(time.sleep, [60] * 20)", 0),
        ("client.map(time.sleep, [60] * 20); os._exit(4)", 4),
    ],
)
def test_ends_of_a_client(cluster, script, code):
    start = """
import os, signal, sys, time
import dtask
client = dtask.Client()
client.submit(abs, 1).result(30)
print("end", time.time(), flush=True)
"""
    assert cluster.run(start + script) == code, cluster.err
    assert cluster.ended - float(cluster.field("end")) < 3
    if "ValueError" in script:
        assert "ValueError: its own error" in cluster.err


def test_a_client_that_returns_at_once(cluster):
    assert cluster.run("print('hello')") == 0
    assert cluster.out == "hello\n" and cluster.err == ""


def test_a_client_that_never_connects(cluster):
    assert cluster.run("import time; time.sleep(1); print('end', time.time())") == 0
    assert cluster.ended - float(cluster.field("end")) < 3


def test_a_client_that_is_no_python(cluster):
    assert cluster.run("", command=["sh", "-c", "echo $DTASK_NWORKERS; exit 3"]) == 3
    assert cluster.out == "2\n"


def test_a_client_that_does_not_exist(cluster):
    assert cluster.run("", command=["no-such-command"]) == 127
    assert cluster.err.count("\n") == 1 and "no-such-command" in cluster.err


def test_a_quiet_success_says_nothing(cluster):
    code = cluster.run("import dtask\nwith dtask.Client() as c: print(c.submit(abs, -1).result(30))")
    assert (code, cluster.out, cluster.err) == (0, "1\n", "")


def strangers(port):
    """Connections that know nothing, each in its own way."""
    opened = []

    def knock(data):
        peer = socket.create_connection(("127.0.0.1", port), timeout=20)
        opened.append(peer)
        try:
            peer.sendall(data)
        except OSError:
            pass  # closed while it wrote: as it should be
        return peer

    hello = b"dtask-1\n" + struct.pack("<BH5x", 1, port) + os.urandom(32)
    knock(os.urandom(4096))
    knock(hello[:20])
    peer = knock(hello)
    answer = b""
    while len(answer) < 72:
        more = peer.recv(72 - len(answer))
        assert more, "a well-formed hello is answered"
        answer += more
    header = b'{"t":"info"}'
    try:
        peer.sendall(bytes(32) + struct.pack("<II", len(header), 0) + header)
        assert peer.recv(100) == b"", "nothing is said to a wrong token"
    except ConnectionResetError:
        pass
    for _ in range(200):
        knock(b"")
    return opened


def test_strangers(cluster):
    cluster.start(MAP.replace("0.002", "0.005"))
    port = int(cluster.line().split()[1].rpartition(":")[2])
    opened = strangers(port)
    assert cluster.finish() == 0, cluster.err
    assert cluster.field("right") == "2000"
    for peer in opened:
        peer.close()
    cluster.check_clean()


def test_an_interrupt_ends_it(cluster):
    cluster.start(MAP.replace("0.002", "0.05"))
    cluster.line()
    cluster.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert cluster.finish() != 0
    assert time.monotonic() - began < 10
    cluster.check_clean()


def test_a_clean_end_waits_for_nobody(cluster):
    """Whoever is told good-bye leaves: the scheduler need not wait its second for any. A machine
    that is busy may well be late, but not each time."""
    stayed = []
    for turn in range(5):
        log = os.path.join(cluster.folder, f"log{turn}")
        assert cluster.run("", f"--log={log}", command=["true"]) == 0, cluster.err
        with open(log, encoding="utf-8") as file:
            stayed = [line for line in file if "did not leave at the end" in line]
        if not stayed:
            return
    raise AssertionError("".join(stayed))

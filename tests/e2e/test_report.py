# SPDX-License-Identifier: Apache-2.0
"""The report at the end of a cluster."""

import json
import os
import re
import stat

import pytest

pytestmark = pytest.mark.e2e

WORK = """
import time
import dtask

def burn(n):
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    return bytes(40 << 20)[0] + n

def broken(n):
    raise ValueError("</script> is no end")

client = dtask.Client()
client.gather(client.map(burn, range(6)))
client.submit(broken, 1).exception()
"""


def lines(cluster):
    return [line for line in cluster.err.splitlines() if line.startswith("dtask: ")]


def test_on_a_file(cluster):
    assert cluster.run(WORK, "--slots=overlap", "--report=report-%j.html", tasks=2) == 0
    said = "\n".join(lines(cluster))
    assert re.search(r"^dtask: step 0\.\d+ took [\d.]+ s: 6 tasks done, 1 failed$", said, re.M)
    path = os.path.join(cluster.folder, "report-0.html")
    assert f"dtask: the report is in {path}" in said
    assert re.search(r"^dtask: efficiency \d+ %: [\d.]+ of 2 CPUs", said, re.M)
    assert re.search(r"^dtask: memory: the largest peak was \d", said, re.M)

    with open(path, encoding="utf-8") as file:
        html = file.read()
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.S)[1])
    assert data["status"]["tasks"]["done"] == 6
    assert data["status"]["failures"][0]["message"] == "ValueError: </script> is no end"
    assert data["timeline"]["done"][-1] == 6
    assert "burn" in data["timeline"]["functions"]
    assert len(data["timeline"]["lanes"]) == 2
    assert data["report"][0].endswith("6 tasks done, 1 failed")
    # What was used after the last look at it is in it, too.
    assert sum(worker["cpu_us"] for worker in data["status"]["workers"]) > 0.95e6 * 6 * 0.3
    assert not stat.S_IMODE(os.stat(path).st_mode) & 0o113


def test_when_it_is_told(cluster):
    script = "import dtask; dtask.Client().submit(abs, -1).result()"
    for option, count in (("auto", 0), ("off", 0), ("on", 1)):
        assert cluster.run(script, f"--report={option}") == 0
        assert cluster.err.count("1 task done, 0 failed") == count, option
    assert cluster.run(script, DTASK_REPORT="on") == 0
    assert cluster.err.count("1 task done, 0 failed") == 1


def test_where_it_cannot_be(cluster):
    assert cluster.run("pass", "--report=nowhere/x.html") != 0
    assert "--dtask-report=nowhere/x.html: " in cluster.err
    assert "No such file or directory" in cluster.err
    assert cluster.run("pass", "--report=a%q") != 0
    assert "--report=a%q: an unknown % pattern; accepted: auto, on, off, or a path" in cluster.err

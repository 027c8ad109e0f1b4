# SPDX-License-Identifier: Apache-2.0
"""How tasks are to be run: what is sent, and what is refused."""

import json

import functions
import pytest

from dtask._terms import terms


def sent(**arguments):
    return json.loads("{" + terms(**arguments) + "}")


def test_members():
    assert json.loads("{" + terms() + "}") == {"retries": 0, "priority": 0}
    assert sent(retries=2, priority=-3) == {"retries": 2, "priority": -3}
    assert sent(timeout=1.5)["timeout"] == 1500
    assert sent(timeout=1e-9)["timeout"] == 1
    assert sent(workers="n1")["workers"] == ["n1"]
    assert sent(workers=("n1", "n2.3"))["workers"] == ["n1", "n2.3"]
    needed = {"cpus": 2, "memory": "2G", "gpu": 1}
    assert sent(resources=needed)["resources"] == {"cpus": 2, "memory": 2 << 30, "gpu": 1}


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"retries": -1}, ValueError, "retries=-1: expected 0 or more"),
        ({"priority": "high"}, TypeError, "priority='high': expected an integer"),
        ({"timeout": 0}, ValueError, "timeout=0: expected more than 0 and less than 4000000 seconds"),
        ({"timeout": "1"}, TypeError, "timeout='1': expected seconds"),
        ({"timeout": float("nan")}, ValueError, "timeout=nan: expected more than 0"),
        ({"workers": [3]}, TypeError, "workers=[3]: expected names of workers or nodes"),
        ({"resources": {"gpu": -1}}, ValueError, "resources['gpu']=-1: expected 0 or more"),
        ({"resources": {"gpu": 0.5}}, TypeError, "resources['gpu']=0.5: expected an integer"),
        ({"resources": {"memory": "2X"}}, ValueError, "resources: memory '2X': expected a number"),
        ({"resources": {3: 1}}, TypeError, "resources: 3: expected a name"),
    ],
)
def test_refused(arguments, error, message):
    with pytest.raises(error) as caught:
        terms(**arguments)
    assert str(caught.value).startswith(message)


def test_they_are_sent(start):
    fake, client = start("run")
    client.submit(functions.inc, 1, timeout=2, workers="n1").result(10)
    client.gather(client.map(functions.inc, [1, 2], resources={"gpu": 1}))
    first, second = (header for header, _ in fake.expect("submit", 2))
    assert first["timeout"] == 2000 and first["workers"] == ["n1"]
    assert second["resources"] == {"gpu": 1}

# SPDX-License-Identifier: Apache-2.0
"""Makes the package of this tree and the fakes importable, and the environment one's own."""

import os
import sys

import pytest
from places import ROOT

sys.path[0:0] = [os.path.join(ROOT, "python"), os.path.join(ROOT, "tests", "fakes")]
sys.path.append(os.path.join(ROOT, "tests", "e2e"))

from calls import LONG  # noqa: E402
from clusters import Cluster  # noqa: E402
from scheduler import FakeScheduler  # noqa: E402


@pytest.fixture(autouse=True)
def no_cluster_around(monkeypatch):
    """A cluster that the tests run in is not theirs."""
    for name in list(os.environ):
        if name.startswith("DTASK_"):
            monkeypatch.delenv(name)


@pytest.fixture
def start():
    """Start a fake scheduler and connect to it: start(answer) -> (fake, client)."""
    from dtask import Client

    opened = []

    def start(answer="run", **options):
        fake = FakeScheduler(answer, **options)
        client = Client(fake.address, fake.token.hex())
        opened.extend((client, fake))
        return fake, client

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def client(start):
    """A client of a fake scheduler that runs what is submitted."""
    return start("run")[1]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """(address, token) of a cluster of two workers, which a file shares."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield cluster.serve(3, LONG)
        cluster.release()
        assert cluster.finish(LONG) == 0, cluster.err
    finally:
        cluster.close()


@pytest.fixture
def on_cluster(address, monkeypatch):
    """On that cluster, as its client is."""
    monkeypatch.setenv("DTASK_ADDRESS", address[0])
    monkeypatch.setenv("DTASK_TOKEN", address[1])


@pytest.fixture
def pool(on_cluster):
    import dtask

    with dtask.Executor() as pool:
        yield pool

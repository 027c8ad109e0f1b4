# SPDX-License-Identifier: Apache-2.0
"""A cluster for each test."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from clusters import Cluster  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "e2e: runs a cluster of `dtask run`")


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()

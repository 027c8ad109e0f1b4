# SPDX-License-Identifier: Apache-2.0
"""The package as a whole: names, weight, Python 3.8's syntax, the list of files."""

import ast
import os
import subprocess
import sys

from places import ROOT

import dtask

PACKAGE = os.path.join(ROOT, "python", "dtask")


def sources():
    """Paths of the package's files below PACKAGE."""
    found = []
    for folder, _, names in os.walk(PACKAGE):
        found += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    return sorted(os.path.relpath(path, PACKAGE) for path in found)


def test_names():
    for name in dtask.__all__:
        assert getattr(dtask, name) is not None and name in dir(dtask)
    assert all(issubclass(e, dtask.DtaskError) for e in (dtask.WorkerCrashed, dtask.ClusterLost))
    try:
        dtask.nonsense
    except AttributeError as error:
        assert "nonsense" in str(error)
    else:
        raise AssertionError("no AttributeError")


def test_import_is_light():
    script = "import sys, dtask; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={**os.environ, "PYTHONPATH": os.path.join(ROOT, "python")},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    ).stdout.split()
    assert "dtask" in out and not {"socket", "json", "pickle", "cloudpickle"} & set(out)


def test_python_3_8_reads_it():
    for name in sources():
        with open(os.path.join(PACKAGE, name), encoding="utf-8") as file:
            ast.parse(file.read(), name, feature_version=(3, 8))


def test_every_file_is_installed():
    with open(os.path.join(ROOT, "python", "Makefile.inc"), encoding="utf-8") as file:
        words = file.read().replace("$(top_srcdir)/", "").split()
    listed = [word[len("python/dtask/") :] for word in words if word.endswith(".py")]
    assert sorted(listed) == sources()

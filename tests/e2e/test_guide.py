# SPDX-License-Identifier: Apache-2.0
"""The code blocks of the guides and of README that need no Slurm.

The others run in tests/slurm/guide.bats.
"""

import os
from pathlib import Path

import blocks
import pytest
from clusters import BUILD

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """As a reader has them: the command and the package."""
    for name in [n for n in os.environ if n.startswith(("DTASK_", "SLURM_"))]:
        monkeypatch.delenv(name)
    path = os.environ["PATH"].split(os.pathsep)
    monkeypatch.setenv("PATH", os.pathsep.join([BUILD, "/usr/bin", "/bin", *path]))
    monkeypatch.setenv("PYTHONPATH", str(blocks.TREE / "python"))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")


@pytest.mark.parametrize("document", ["README.md", "doc/guide.md", "doc/migrate.md"])
def test_every_block_runs(document, tmp_path):
    if document == "doc/migrate.md":
        pytest.importorskip("distributed")
    assert blocks.play(document, "local", tmp_path) > 1


def wrong(tmp_path, monkeypatch, text):
    """The error that a document of such text ends with."""
    (tmp_path / "d.md").write_text(text)
    monkeypatch.setattr(blocks, "TREE", Path(tmp_path))
    with pytest.raises(blocks.Wrong) as error:
        blocks.play("d.md", "local", tmp_path)
    return str(error.value)


@pytest.mark.parametrize(
    "text, error",
    [
        ("a\n\n```bash\ntrue\n```\n", "d.md:3: a block without a comment"),
        ("<!-- run -->\na\n```bash\ntrue\n```\n", "d.md:3: a block without a comment"),
        ("a\n\n    true\n", "d.md:3: an indented block: true"),
        ("<!-- try -->\n```bash\ntrue\n```\n", "d.md:2: <!-- try -->; accepted: save, run"),
        ("<!-- run\nwhen: now -->\n```bash\ntrue\n```\n", "d.md:3: when; accepted: after"),
        ("<!-- run -->\n```bash\nfalse\n```\n", "d.md:2: exit code 1"),
        ("<!-- run -->\n```bash\nfalse\ntrue\n```\n", "d.md:2: exit code 1"),
        ("<!-- run\nhere: s/a/b/ -->\n```bash\ntrue\n```\n", "d.md:3: here: no a in the block"),
        (
            "<!-- run -->\n```bash\necho abc\n```\n<!-- shows -->\n```\na...\nc\n```\n",
            "d.md:6: nobody has printed: c",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path, monkeypatch, text, error):
    assert wrong(tmp_path, monkeypatch, text).startswith(error)

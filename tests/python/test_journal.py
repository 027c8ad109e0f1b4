# SPDX-License-Identifier: Apache-2.0
"""map(journal=): what is noted, what a later map does not run, and files that are torn."""

import functools
import os
import subprocess
import sys

import functions
import pytest

from dtask import _journal


def submitted(fake):
    """How many tasks the scheduler has been sent."""
    return sum(len(header["k"]) for header, _ in fake.expect("submit", 0))


def values(futures):
    return [future.result(20) for future in futures]


def test_what_it_has_is_not_run_again(start, tmp_path):
    path = tmp_path / "journal"
    fake, client = start("run")
    assert values(client.map(functions.inc, range(20), journal=path)) == list(range(1, 21))
    assert submitted(fake) == 20
    again, other = start("run")
    futures = other.map(functions.inc, range(25), journal=os.fspath(path))
    assert [future.done() for future in futures[:20]] == [True] * 20
    assert values(futures) == list(range(1, 26))
    assert submitted(again) == 5


def test_another_function_or_other_keywords_are_other_calls(start, tmp_path):
    path = tmp_path / "journal"
    fake, client = start("run")
    values(client.map(functions.echo, [1], journal=path, x=1))
    values(client.map(functions.echo, [1], journal=path, x=2))
    values(client.map(functions.inc, [1], journal=path))
    values(client.map(functools.partial(functions.echo, 7), [1], journal=path))
    assert submitted(fake) == 4
    assert values(client.map(functions.echo, [1], journal=path, x=2)) == [((1,), {"x": 2})]
    assert submitted(fake) == 4


def test_calls_that_are_alike_run_each(start, tmp_path):
    path = tmp_path / "journal"
    fake, client = start("run")
    for _ in range(2):
        assert values(client.map(functions.inc, [1, 1, 1], journal=path)) == [2, 2, 2]
        assert submitted(fake) == 3


def test_a_call_that_raised_is_run_again(start, tmp_path):
    path = tmp_path / "journal"
    fake, client = start("run")
    for runs in 2, 3:
        good, bad = client.map(functions.inc, [1, "x"], journal=path)
        assert good.result(20) == 2 and isinstance(bad.exception(20), TypeError)
        assert submitted(fake) == runs


def test_a_cut_at_any_byte(start, tmp_path):
    path = tmp_path / "journal"
    fake, client = start("run")
    values(client.map(functions.inc, range(3), journal=path))
    whole = path.read_bytes()
    sizes = set()
    for cut in range(len(whole) + 1):
        torn = tmp_path / f"torn-{cut}"
        torn.write_bytes(whole[:cut])
        journal = _journal.open_journal(torn)
        before = torn.stat().st_size
        sizes.add(before)
        journal.add(b"d" * 16, b"result")
        del journal
        journal = _journal.open_journal(torn)
        assert journal.get(b"d" * 16) == b"result"
        assert torn.stat().st_size > before
    assert len(sizes) == 4, "the head, and each record behind it"
    # A byte that is wrong: what is behind is not believed.
    wrong = tmp_path / "wrong"
    wrong.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    fake, client = start("run")
    assert values(client.map(functions.inc, range(3), journal=wrong)) == [1, 2, 3]
    assert submitted(fake) == 1


def test_what_it_refuses(start, tmp_path):
    _, client = start("run")
    notes = tmp_path / "notes"
    notes.write_text("my notes, which nobody may cut\n")
    with pytest.raises(ValueError, match="no journal of dtask"):
        client.map(functions.inc, [1], journal=notes)
    assert notes.read_text() == "my notes, which nobody may cut\n"
    with pytest.raises(OSError):
        client.map(functions.inc, [1], journal=tmp_path / "none" / "journal")
    with pytest.raises(ValueError, match="arguments of inc have futures"):
        client.map(functions.inc, [client.submit(functions.inc, 1)], journal=tmp_path / "journal")


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "journal"
    journal = _journal.open_journal(path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from dtask import _journal\n"
        "try: _journal.open_journal(sys.argv[2])\n"
        "except ValueError as error: print(error)"
    )
    package = os.path.dirname(os.path.dirname(_journal.__file__))
    done = subprocess.run(
        [sys.executable, "-c", program, package, path], stdout=subprocess.PIPE, text=True, timeout=60
    )
    assert "another process writes it" in done.stdout
    assert _journal.open_journal(path) is journal


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    journal = _journal.open_journal(tmp_path / "journal")
    monkeypatch.setattr(os, "write", lambda fd, data: len(data) - 1)
    with pytest.warns(UserWarning, match="nothing more is noted"):
        journal.add(b"1" * 16, b"x")
    monkeypatch.undo()
    journal.add(b"2" * 16, b"y")
    assert journal.get(b"1" * 16) is None and journal.get(b"2" * 16) is None
